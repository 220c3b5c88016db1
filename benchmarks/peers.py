"""Two more sides: transformers' GPT-2 of the same shape, and the limit, which is torch's products alone."""

import torch
from torch.nn import functional as F

from benchmarks.sides import Ours
from reslab.system import device
from reslab.training.step import next_batch


class Transformers(Ours):
    """GPT2LMHeadModel, with torch's fused AdamW and its own generate(), which has a KV cache; in float32, or
    in bfloat16 under autocast."""

    def build(self, settings: dict) -> dict:
        from transformers import GPT2Config, GPT2LMHeadModel

        facts = super().build(settings)
        shape, optim = self.config.model, self.config.optim
        config = GPT2Config(
            vocab_size=self.state.model.config.vocab_size,
            n_positions=shape.block_size,
            n_embd=shape.n_embd,
            n_layer=shape.n_layer,
            n_head=shape.n_head,
            activation_function="gelu",  # the exact one, as the other sides
            resid_pdrop=shape.dropout,
            embd_pdrop=shape.dropout,
            attn_pdrop=shape.dropout,
            bos_token_id=0,
            eos_token_id=None,
            pad_token_id=0,
        )
        self.model = GPT2LMHeadModel(config).to(self.device)
        rates = {"lr": optim.learning_rate, "weight_decay": optim.weight_decay}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), fused=True, **rates)
        return facts | {"parameters": sum(p.numel() for p in self.model.parameters())}

    def step(self) -> None:
        x, y = next_batch(self.dataset, self.config, self.state.step, self.strategy).to(self.device)
        self.model.train()
        with device.autocast(self.device, self.dtype):
            logits = self.model(x, use_cache=False).logits
        F.cross_entropy(logits.float().flatten(0, 1), y.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.step += 1

    @torch.no_grad()
    def sample(self, batch: int, count: int) -> None:
        ids = torch.zeros(batch, 1, dtype=torch.long, device=self.device)
        with device.autocast(self.device, self.dtype):
            self.model.eval().generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=True, top_k=0
            )


class Limit(Ours):
    """What no program with these kernels passes: the products of a step, each once, with nothing between (on
    a GPU torch's attention kernel for those of attention); and for a token, one reading of all weights."""

    def build(self, settings: dict) -> dict:
        facts = super().build(settings)
        dtype = device.DTYPES[self.dtype]
        model, shape = self.state.model, self.config.model
        layers = [m.weight for m in model.blocks.modules() if isinstance(m, torch.nn.Linear)]
        self.weights = [w.detach().to(dtype) for w in (*layers, model.head_weight)]
        tokens, T = self.config.batch_size * shape.block_size, shape.block_size
        widths = {width for w in self.weights for width in w.shape}
        self.x = {width: torch.randn(tokens, width, dtype=dtype, device=self.device) for width in widths}
        of_heads = self.config.batch_size, shape.n_head, T, shape.head_width
        self.heads = torch.randn(of_heads, dtype=dtype, device=self.device)
        if self.device == "cpu":  # a GPU's kernel holds no scores
            self.scores = torch.randn(*of_heads[:3], T, dtype=dtype).flatten(0, 1)
        # The bits of all weights as one row of float32, whatever they are: for reading alone.
        flat = torch.cat([w.flatten() for w in self.weights])
        self.bits = flat[: len(flat) // 2 * 2].view(torch.float32)
        return facts

    @torch.no_grad()
    def step(self) -> None:
        for weight in self.weights:
            out, inner = weight.shape
            F.linear(self.x[inner], weight)
            torch.mm(self.x[out], weight)  # the gradient of its input
            torch.mm(self.x[out].T, self.x[inner])  # the gradient of the weight
        for _ in range(self.config.model.n_layer):
            self.attention()

    def attention(self) -> None:
        """The products of one layer's attention, forward two and backward four; on a GPU its kernels."""
        if self.device != "cpu":
            with torch.enable_grad():
                q, k, v = (self.heads.detach().requires_grad_() for _ in range(3))
                F.scaled_dot_product_attention(q, k, v, is_causal=True).backward(self.heads)
            return
        heads = self.heads.flatten(0, 1)
        for _ in range(3):
            torch.bmm(heads, heads.mT)
            torch.bmm(self.scores, heads)

    @torch.no_grad()
    def sample(self, batch: int, count: int) -> None:
        for _ in range(count):
            self.bits.sum()
