"""Every setting of a training: its default, its help, its type and its role, each said once. No torch."""

import importlib.util
import shutil
import sys
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from reslab.run import capacity
from reslab.run.config import Positionals
from reslab.run.fields import (
    Amount,
    Base,
    Check,
    Count,
    Experiment,
    GivenPath,
    Machine,
    Measuring,
    Number,
    Place,
    Positive,
    Schedule,
    Seed,
    Share,
    Weights,
    Whole,
    Wiring,
    keys_of,
    value_faults,
    word_and_count,
)

# What a setting may be, from the dict that holds it.
WiringName = Literal[*keys_of("reslab/residual.py", "WIRINGS")]
WiringOrSame = Literal["", *keys_of("reslab/residual.py", "WIRINGS")]
NormName = Literal[*keys_of("reslab/nn/layers.py", "NORMS")]
ActivationName = Literal[*keys_of("reslab/nn/layers.py", "ACTIVATIONS")]
GATED = keys_of("reslab/nn/layers.py", "ACTIVATIONS", flag="gated")
InitName = Literal[*keys_of("reslab/nn/init.py", "INITS")]
OptimizerName = Literal[*keys_of("reslab/training/optimizer.py", "OPTIMIZERS")]
ScheduleName = Literal[*keys_of("reslab/training/optimizer.py", "SCHEDULES")]
GrowthPlace = Literal[*keys_of("reslab/training/growth.py", "PLACES")]
Precision = Literal["auto", *keys_of("reslab/system/device.py", "DTYPES")]
TRACKERS = keys_of("reslab/report/trackers.py", "TRACKERS")

DEVICES = ("auto", "cpu", "cuda", "mps")


def is_device(name: str) -> bool:
    """Whether a device has this name on some machine."""
    kind, colon, number = name.partition(":")
    return kind in DEVICES and (not colon or (number.isdecimal() and len(number) < 5))


Keep = Annotated[
    str, Check(lambda text: not text or word_and_count(text, "every"), "empty, or every:N with N at least 1")
]
SkipBlocks = Annotated[
    str,
    Check(
        lambda text: word_and_count(text, "every", "first", "last"), "every:N, first:N or last:N; N above 0"
    ),
]
DeviceName = Annotated[str, Check(is_device, f"{', '.join(DEVICES)}, with a number as in cuda:1")]


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a model. Field names are nanoGPT's."""

    block_size: Weights[Count] = 256
    """Longest context, in tokens."""
    vocab_size: Weights[Whole] = 0
    """Number of token ids; 0 takes the dataset's, a larger number pads it."""
    n_layer: Weights[Count] = 12
    """Number of blocks; each holds one attention and one MLP sublayer."""
    n_head: Weights[Count] = 6
    """Attention heads; divides n_embd."""
    n_embd: Weights[Count] = 384
    """Width of the stream."""
    dropout: Experiment[Share] = 0.0
    """Share of activations dropped while training."""
    bias: Weights[bool] = True
    """Biases in linear layers and layer norms."""
    norm: Weights[NormName] = "layernorm"
    """N of the wirings and before the head."""
    mlp: Weights[ActivationName] = "gelu"
    """Activation of the MLP; gelu is GPT-2's (by tanh), gelu_erf nanoGPT's."""
    pos: Weights[Literal["learned", "rope"]] = "learned"
    """Positions: learned embeddings, or rotary queries and keys."""
    qk_norm: Weights[bool] = False
    """Normalise each head's queries and keys."""
    n_kv_head: Weights[Whole] = 0
    """Heads of keys and values, shared by groups of queries; divides n_head, 0 is n_head."""
    head_dim: Weights[Whole] = 0
    """Width of a head; 0 is n_embd / n_head."""
    n_inner: Weights[Whole] = 0
    """Width inside the MLP; 0 is 4 n_embd, or with a gate 8/3 n_embd to a multiple of 8."""
    qkv_bias: Weights[bool] = False
    """Biases of queries, keys and values also where bias is False."""
    rope_theta: Weights[Base] = 10_000.0
    """Base of the rotary angles: pair j of D channels turns by rope_theta^(-2j / D) a token."""
    tie_weights: Weights[bool] = True
    """The head shares its matrix with the token embedding."""
    residual: Wiring[WiringName] = "pre"
    """Wiring of every sublayer, a class of reslab/residual.py; `none` has no skips."""
    attn_residual: Wiring[WiringOrSame] = ""
    """Wiring of the attention sublayers only; empty takes `residual`."""
    mlp_residual: Wiring[WiringOrSame] = ""
    """Wiring of the MLP sublayers only; empty takes `residual`."""
    residual_scale: Wiring[Number] = 0.5
    """lambda of the wiring `scaled`."""
    skip_blocks: Wiring[SkipBlocks] = "every:3"
    """Blocks of the wiring `partial_skips` that have skips: every:N, first:N or last:N."""
    init: Experiment[InitName] = "wiring"
    """Initial weights of the blocks: `wiring` as its paper says; with `self` each token attends to itself."""
    init_qk_scale: Experiment[Positive] = 3.0
    """c of init self and shared_qk: W_Q = W_K = c times an orthogonal matrix."""
    norm_eps: Weights[Positive] = 1e-5
    """Epsilon of the norms, added to the variance or the mean square."""

    @property
    def mlp_width(self) -> int:
        """Inside of the MLP: 4 C, or with a third matrix 8/3 C to a multiple of 8, so as many weights."""
        return self.n_inner or (max(8, 8 * round(self.n_embd / 3)) if self.gated else 4 * self.n_embd)

    @property
    def head_width(self) -> int:
        """Channels of a head."""
        return self.head_dim or self.n_embd // self.n_head

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.n_kv_head or self.n_head

    @property
    def gated(self) -> bool:
        """Whether the MLP's nonlinearity has a gate, which is a third matrix."""
        return self.mlp in GATED

    def wiring(self, kind: Literal["attn", "mlp"]) -> str:
        """The name of the wiring that sublayers of a kind have."""
        return (self.attn_residual if kind == "attn" else self.mlp_residual) or self.residual

    def faults(self) -> list[str]:
        """What no model can be built from, one line per fault."""
        faults = value_faults(self)
        if self.n_head >= 1 and not self.head_dim and self.n_embd % self.n_head:
            faults.append(f"n_head={self.n_head}: must divide n_embd={self.n_embd}")
        if self.kv_heads >= 1 and self.n_head % self.kv_heads:
            faults.append(f"n_kv_head={self.n_kv_head}: must be 0 or divide n_head={self.n_head}")
        if self.pos == "rope" and self.n_head >= 1 and self.head_width % 2:
            key = "head_dim" if self.head_dim else "n_embd / n_head"
            faults.append(f"pos=rope: rotates pairs of channels, and {key} = {self.head_width} is odd")
        return faults


@dataclass(frozen=True)
class OptimConfig:
    """How weights follow gradients. Field names are nanoGPT's."""

    optimizer: Experiment[OptimizerName] = "adamw"
    """How updates follow gradients; muon leaves what is not a matrix of a block to AdamW."""
    max_iters: Schedule[Whole] = 2000
    """Number of updates."""
    learning_rate: Schedule[Amount] = 1e-3
    """Peak learning rate."""
    block_lr: Schedule[Amount] = 0.0
    """Peak learning rate of the blocks; 0 takes learning_rate. Not for muon, which has muon_lr."""
    muon_lr: Schedule[Amount] = 0.0
    """Peak learning rate of Muon's matrices, scaled as in its paper; 0 gives steps of AdamW's size."""
    min_lr: Schedule[Amount] = 1e-4
    """Learning rate at the end of the cosine."""
    schedule: Schedule[ScheduleName] = "cosine"
    """How the learning rate changes after the warmup; cosine ends at min_lr, linear at zero."""
    warmup_iters: Schedule[Whole] = 100
    """Updates in which the learning rate rises from near zero to its peak."""
    weight_decay: Experiment[Amount] = 0.1
    """Weight decay of matrices; vectors have none. adagrad divides its size away: give 0 there."""
    beta1: Experiment[Share] = 0.9
    """AdamW's decay of the mean gradient; momentum of sgd."""
    beta2: Experiment[Share] = 0.99
    """AdamW's decay of the mean squared gradient."""
    adam_eps: Experiment[Amount] = 1e-8
    """AdamW's epsilon, added to the root of the mean squared gradient."""
    grad_clip: Experiment[Amount] = 1.0
    """The gradient's norm is clipped to this; 0 does not clip."""

    def faults(self) -> list[str]:
        """What can't be run, one line per fault."""
        faults = value_faults(self)
        if 0 < self.max_iters < self.warmup_iters:
            faults.append(f"warmup_iters={self.warmup_iters}: must be at most max_iters={self.max_iters}")
        if self.optimizer == "muon" and self.block_lr:
            faults.append(f"block_lr={self.block_lr}: is not for muon, whose matrices take muon_lr")
        for key in ("block_lr", "muon_lr"):
            if getattr(self, key) > 0 and self.learning_rate == 0:
                faults.append(
                    f"{key}={getattr(self, key)}: follows the schedule of learning_rate, which is 0"
                )
        return faults


@dataclass(frozen=True)
class TrainConfig:
    """One run. Give config files (plain assignments), then --key=value; later ones win."""

    POSITIONALS: ClassVar = Positionals("[CONFIG.py ...]", configs=True)

    model: GPTConfig = field(default_factory=GPTConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    dataset: Experiment[GivenPath] = "stdlib"
    """A name under data/, or the path of a folder that a prepare.py wrote."""
    out_dir: Place[GivenPath] = "runs/out"
    """The run directory."""
    init_from: Experiment[GivenPath] = "scratch"
    """scratch; a run directory: start from its weights, grown to n_layer by silent blocks; gpt2, gpt2-medium,
    gpt2-large, gpt2-xl; a folder of transformers; or a ckpt.pt of nanoGPT."""
    grow_at: Experiment[GrowthPlace] = "end"
    """Where silent blocks are inserted."""
    resume: Place[bool] = False
    """Go on with the run in out_dir."""
    overwrite: Place[bool] = False
    """Delete the run in out_dir first."""
    print_config: Place[bool] = False
    """Print every setting and stop."""
    batch_size: Experiment[Count] = 12
    """Sequences in a forward and backward pass."""
    gradient_accumulation_steps: Experiment[Count] = 1
    """Batches per update; the gradient is that of one batch as large as all."""
    eval_interval: Measuring[Count] = 100
    """Updates between evaluations; a checkpoint is saved at each."""
    eval_sequences: Experiment[Count] = 256  # losses on other sequences are other numbers
    """Sequences of each split that an evaluation reads, always the same ones."""
    log_interval: Measuring[Count] = 10
    """Updates between logged batch losses."""
    probes: Measuring[bool] = True
    """Measure the model from inside at steps 0, 1, 3, 10, 30, 100, ... and at each evaluation."""
    probe_sequences: Experiment[Count] = 8
    """Sequences of the fixed batch that the probes read, one at a time, on a GPU more."""
    sample_tokens: Measuring[Whole] = 200
    """Longest sample at an evaluation, in tokens; deep stacks write shorter ones; 0 writes none."""
    keep: Place[Keep] = ""
    """every:500 keeps each 500th update's checkpoint, in checkpoint/step-N; empty only the last and best."""
    end_note: Place[str] = ""
    """What to print when all updates are made, in place of what the losses mean."""
    log: Place[str] = ""
    """Trackers that get the metrics too: tensorboard, wandb, trackio, with commas."""
    seed: Experiment[Seed] = 1337
    """Seed of initial weights, batches and dropout."""
    device: Machine[DeviceName] = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: Schedule[Precision] = "auto"  # of the updates to come; the weights stay float32, but for float64
    """Precision of products; auto: bfloat16 where measured to be faster. float64 is of the weights too."""
    compile: Machine[Literal["auto", "True", "False"]] = "auto"
    """Compile the blocks; auto: on a GPU, and on a CPU where it was measured to be faster."""
    kernels: Machine[Literal["auto", "torch"]] = "auto"
    """On a CPU: auto takes the attention and float32 library measured to be faster, torch always its own."""
    cuda_graph: Machine[bool] = True
    """On a GPU: replay updates as CUDA graphs, where nothing interrupts one (ranks, float16, recomputing)."""
    shard: Experiment[Literal["none", "fsdp"]] = "none"  # a checkpoint is laid out by it
    """On several ranks (torchrun): none gives each the whole model (DDP), fsdp shards it across ranks."""
    activation_checkpointing: Machine[bool] = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    profile: Place[bool] = False
    """Trace some updates into out_dir/trace.json and print their time by kind of layer."""

    def faults(self) -> list[str]:
        """What can't be run, one line per fault."""
        faults = self.model.faults() + self.optim.faults() + value_faults(self)
        if self.shard == "fsdp" and self.optim.optimizer == "muon":
            needs = "muon needs whole matrices, and no rank has one"
            faults.append(f"shard=fsdp: {needs}; choose another --optimizer")
        batch = self.batch_size * self.gradient_accumulation_steps
        sequences = {"batch_size * gradient_accumulation_steps": batch}
        sequences |= {key: getattr(self, key) for key in ("eval_sequences", "probe_sequences")}
        gpu = self.device == "auto" and shutil.which("nvidia-smi") is not None
        here = not (gpu or self.device.startswith("cuda") or self.optim.max_iters == 0)
        optimizer = self.optim.optimizer if here else None
        return (faults or capacity.faults(self.model, sequences, optimizer)) + tracker_faults(self.log)


def tracker_names(log: str) -> list[str]:
    """The trackers that --log names."""
    return list(dict.fromkeys(name.strip() for name in log.split(",") if name.strip()))


def tracker_faults(log: str) -> list[str]:
    """What is wrong with a setting of --log, one line per fault."""
    faults = []
    for name in tracker_names(log):
        if name not in TRACKERS:
            faults.append(f"log={name}: allowed are {', '.join(TRACKERS)}, several with commas")
            continue
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # a folder of that name has no origin
            faults.append(f"log={name}: not installed; run: {sys.executable} -m pip install {name}")
    return faults
