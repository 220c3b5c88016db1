"""Weights of transformers and nanoGPT into our model, and ours into theirs: all of them, or none."""

import re

import torch

from reslab.training.families import FAMILIES, Family
from reslab.training.formats import architecture, prenorm_factors, their_names, to_settings

# What old checkpoints hold beside their parameters: the causal mask, which is computed here.
BUFFERS = re.compile(r"\.attn\.(masked_)?bias$")


@torch.no_grad()
def load_weights(source: str, model, family: Family, state: dict[str, torch.Tensor]) -> None:
    """Give a fresh model the weights of a state dict of a family.

    Raises:
        ValueError: a parameter of the model stays without a tensor, a tensor without a use, or a shape is
            another one; nothing was changed then.
    """
    places = {name: their_names(family, name) for name, _ in model.named_parameters()}
    check_places(source, model, places)
    used = {there for names in places.values() for there in names}
    (embedding,) = their_names(family, "wte.weight")
    unused = {name for name in state.keys() - used if not BUFFERS.search(name)}
    if model.lm_head is None and "lm_head.weight" in unused and embedding in state:
        if not torch.equal(state["lm_head.weight"], state[embedding]):
            raise ValueError(
                f"init_from={source}: lm_head.weight is not the token embedding, and the settings say that "
                "they are tied; write tie_word_embeddings: false into its config.json"
            )
        unused.remove("lm_head.weight")
    refuse_mismatch(source, used - state.keys(), unused)
    tensors = {}
    for name, parameter in model.named_parameters():
        tensor = _from_theirs(family, name, torch.cat([state[there] for there in places[name]]), model.config)
        if name == "wpe.weight":
            tensor = tensor[: len(parameter)]  # a shorter context has fewer places
        if tensor.shape != parameter.shape:
            raise ValueError(
                f"{source}: {places[name][0]} is {tuple(tensor.shape)}, not {tuple(parameter.shape)}"
            )
        tensors[name] = tensor
    for name, parameter in model.named_parameters():
        parameter.copy_(tensors[name])


def check_places(source: str, model, places: dict[str, list[str]]) -> None:
    """Raises ValueError where the wiring has parameters that a pre-norm model has not, or no last norm."""
    homeless = [name for name, names in places.items() if not names]
    reason = f"has no weights for {homeless[0]}" if homeless else ""
    if not reason and isinstance(model.ln_f, torch.nn.Identity):
        reason = "has a norm before the head, this wiring has none"
    if reason:
        c = model.config
        raise ValueError(
            f"residual={c.wiring('attn')}, {c.wiring('mlp')}: {source} is a pre-norm model and {reason}; its "
            "weights fit residual=pre, none, scaled"
        )


def refuse_mismatch(source: str, missing, unused, resized=()) -> None:
    """Raises ValueError where a model's parameters and a file's tensors are not the same.

    Args:
        missing: names of parameters without a tensor; unused: of tensors without a parameter.
        resized: (name, shape in the file, shape in the model).
    """
    faults = [f"{name} is {tuple(there)}, not {tuple(here)}" for name, there, here in list(resized)[:3]]
    if missing:
        faults.append(f"no weights for {_some(missing)}")
    if unused:
        faults.append(f"no use for {_some(unused)}")
    if faults:
        raise ValueError(
            f"init_from={source}: its weights are not those of the model that its settings describe: "
            f"{', and '.join(faults)}; nothing was loaded"
        )


def _some(names) -> str:
    first, rest = sorted(names)[:3], len(names) - 3
    return ", ".join(first) + (f" and {rest} more" if rest > 0 else "")


def _from_theirs(family: Family, name: str, tensor: torch.Tensor, config) -> torch.Tensor:
    tensor = tensor.T if _is_transposed(family, name) else tensor
    if family.qkv_by_head and ".attn.c_attn." in name and len(tensor) % (3 * config.n_head) == 0:
        return tensor.unflatten(0, (config.n_head, 3, -1)).transpose(0, 1).flatten(0, 2)
    return tensor


def _to_theirs(family: Family, name: str, tensor: torch.Tensor, config) -> torch.Tensor:
    tensor = tensor.T if _is_transposed(family, name) else tensor
    if family.qkv_by_head and ".attn.c_attn." in name:
        return tensor.unflatten(0, (3, config.n_head, -1)).transpose(0, 1).flatten(0, 2)
    return tensor


def _is_transposed(family: Family, name: str) -> bool:
    return family.transposed and ".c_" in name and name.endswith(".weight")


@torch.no_grad()
def to_transformers(package, model, vocab_size: int | None = None):
    """The same function as a model of transformers.

    Args:
        package: transformers.
        vocab_size: ids from here on pad the vocabulary, and are left out.

    Raises:
        ValueError: none of its architectures that are known here computes this function.
    """
    family, config = FAMILIES[architecture(model)], model.config
    nested, settings = {}, {}
    for name, value in (
        to_settings(family, config) | {"vocab_size": vocab_size or config.vocab_size}
    ).items():
        outer, _, inner = name.partition(".")
        if inner:
            nested.setdefault(outer, {})[inner] = value
        else:
            settings[name] = value
    nobody = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    theirs = getattr(package, f"{family.name}Config")(**settings, **nested, **nobody)
    theirs = getattr(package, family.model)(theirs)
    state = {name: torch.zeros_like(tensor) for name, tensor in theirs.state_dict().items()}
    for name, tensor in as_prenorm(model).items():
        if name in ("wte.weight", "lm_head.weight"):
            tensor = tensor[:vocab_size]
        names = their_names(family, name)
        parts = _to_theirs(family, name, tensor, config).split([len(state[there]) for there in names])
        state |= {there: part.clone() for there, part in zip(names, parts, strict=True)}
    if config.tie_weights:
        state["lm_head.weight"] = state[their_names(family, "wte.weight")[0]]
    theirs.load_state_dict(state)
    return theirs.eval()


def as_prenorm(model) -> dict[str, torch.Tensor]:
    """The parameters of a model of AS_PRENORM's wirings with which the wiring `pre` computes the same."""
    state = {name: parameter.detach().cpu().float() for name, parameter in model.named_parameters()}
    for layer, block in enumerate(model.blocks):
        for residual, branch in block.sublayers():
            a, b = prenorm_factors(model.config.wiring(branch.kind), residual)
            place = f"blocks.{layer}.{branch.kind}"
            own = {f"{place}_residual.{name}" for name, _ in residual.named_parameters()}
            for leaf in ("weight", "bias"):
                norm, output = f"{place}_residual.norm.{leaf}", f"{place}.c_proj.{leaf}"
                if norm in state:
                    state[norm] = a * state[norm]
                if output in state:
                    state[output] = _scale_rows(state[output], b)
                own.discard(norm)
            for name in own:
                del state[name]
    return state


def _scale_rows(tensor: torch.Tensor, factor) -> torch.Tensor:
    """A weight (rows, ...) or a bias (rows,) times a number, or times one for each row."""
    if torch.is_tensor(factor):
        factor = factor.detach().cpu().float().view(-1, *[1] * (tensor.dim() - 1))
    return factor * tensor
