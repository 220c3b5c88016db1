"""Growth: insert silent blocks into a trained model, whose logits stay bitwise the same.

A block with F = 0 gives y = x, so a deeper model starts where the shallow one stopped and can only
learn from there. Inserted blocks get fresh weights and are silenced as their wiring says, most by an output
projection of 0: the first update changes the projection, the second all that lies before it.
"""

from pathlib import Path

import torch

from reslab.residual import WIRINGS
from reslab.run import checkpoint
from reslab.run.fields import flat, from_flat, with_part
from reslab.run.settings import GPTConfig, OptimConfig
from reslab.training import init_from
from reslab.training.formats import canonical
from reslab.training.load import check_finite
from reslab.training.optimizer import make_optimizer
from reslab.training.same_wiring import load_state


def placement(old: int, new: int, where: str) -> list[int | None]:
    """Which old block each of `new` blocks is, None for an inserted one."""
    return PLACES[where](old, new)


def _end(old, new):
    return [*range(old), *[None] * (new - old)]


def _middle(old, new):
    half = (old + 1) // 2
    return [*range(half), *[None] * (new - old), *range(half, old)]


def _between(old, new):
    """Spread evenly: old block k is followed by its share of the inserted ones."""
    blocks: list[int | None] = []
    for k in range(old):
        blocks.append(k)
        share = (k + 1) * (new - old) // old - k * (new - old) // old
        blocks += [None] * share
    return blocks


def start_from(source: str, model: torch.nn.Module, optimizer, where: str, tokenizer: dict) -> str:
    """Give model the weights, and optimizer the memory, of a run that may have fewer blocks.

    At the same depth the wiring may change where both have the same weights: `none` strips the skips of a
    trained model.

    Args:
        source: a run directory, or a model of another program (see reslab/training/init_from.py), which has
            neither memory nor fewer blocks.
        model: the new, fresh model.
        where: end, middle or between: where the silent blocks go.
        tokenizer: of the data that the new run will read, as JSON.

    Returns:
        one line that says what was done.

    Raises:
        ValueError: there is no checkpoint, the shapes or tokenizers differ, or the wiring can't grow.
    """
    line = _start_from(source, model, optimizer, where, tokenizer)
    check_finite(model, f"init_from={source}")
    return line


def _start_from(source: str, model: torch.nn.Module, optimizer, where: str, tokenizer: dict) -> str:
    if init_from.is_foreign(source):
        return init_from.fill(source, model, tokenizer)
    folder = Path(source)
    saved_in = checkpoint.find(folder / "checkpoint" / "last")
    if saved_in is None:
        raise ValueError(
            f"init_from={folder}: no checkpoint here; give a run directory such as runs/deep, a folder of "
            f"transformers, a ckpt.pt of nanoGPT, or one of {', '.join(init_from.GPT2_SIZES)}"
        )
    saved = load_state(saved_in)
    with checkpoint.reading(saved_in):
        if saved["tokenizer"] != tokenizer:
            raise ValueError(f"init_from={folder}: it was trained with another tokenizer; use its dataset")
        old = type(model)(from_flat(GPTConfig, saved["config"]))
    _check(folder, old, model)
    checkpoint.load_model(saved_in, old)
    pairs = grow(old, model, where)
    trained_with = from_flat(OptimConfig, saved["config"])
    memory = _carry(checkpoint.load_optimizer(saved_in)["optimizer"], trained_with, old, optimizer, pairs)
    return f"started from {folder}: {_what_changed(old.config, model.config, where)}; {memory}"


def _what_changed(before: GPTConfig, now: GPTConfig, where: str) -> str:
    inserted = now.n_layer - before.n_layer
    rewired = "" if before.residual == now.residual else f", residual={now.residual} now"
    return f"{before.n_layer} blocks carried over, {inserted} silent ones inserted ({where}){rewired}"


@torch.no_grad()
def grow(old, new, where: str) -> list[tuple[torch.nn.Parameter, torch.nn.Parameter]]:
    """Copy a model's weights into a fresh one of as many blocks or more, and silence the others.

    Args:
        where: end, middle or between: where the silent blocks go.

    Returns:
        (old parameter, new parameter) of everything that was copied.
    """
    place = placement(old.config.n_layer, new.config.n_layer, where)
    pairs = _pair_parameters(old, new, place)
    for theirs, ours in pairs:
        ours.copy_(_first_rows(theirs, ours))
    for block, old_block in zip(new.blocks, place, strict=True):
        if old_block is None:
            for residual, branch in block.sublayers():
                residual.silence(branch)
    return pairs


def _check(folder: Path, old, new) -> None:
    """Only depth may differ, and only where a block can be silent; or the wiring, at the same depth."""
    before, now = canonical(old.config), canonical(new.config)
    was, wanted = flat(before), flat(now)
    fixed = with_part(GPTConfig, "weights") - {"n_layer"}
    if now.block_size < before.block_size:
        fixed -= {"block_size"}
    if now.n_layer != before.n_layer or _rows(old) != _rows(new):
        fixed |= with_part(GPTConfig, "wiring")
    faults = [
        f"{key}={wanted[key]}: the model in {folder} has {was[key]}, and only n_layer can grow"
        for key in was
        if key in fixed and was[key] != wanted[key]
    ]
    if now.n_layer < before.n_layer:
        faults.append(f"n_layer={now.n_layer}: the model in {folder} has {before.n_layer} layers already")
    for kind in ("attn", "mlp"):
        name = now.wiring(kind)
        if now.n_layer > before.n_layer and not WIRINGS[name].can_grow():
            able = ", ".join(n for n, wiring in WIRINGS.items() if wiring.can_grow())
            faults.append(
                f"{kind}_residual={name}: can't grow, because a silent block of this wiring does not give "
                f"back x, or its constants depend on the depth; these can: {able}"
            )
    if faults:
        raise ValueError("\n".join(dict.fromkeys(faults)))


def _rows(model) -> dict:
    """What a parameter's rows look like; how many places there are is left out."""
    return {name: p.shape for name, p in model.named_parameters() if name != "wpe.weight"}


def _first_rows(theirs, ours) -> torch.Tensor:
    """As many rows of a tensor as ours has: a shorter context has fewer places."""
    return (theirs[: len(ours)] if theirs.dim() else theirs).clone().to(ours.device)


def _pair_parameters(old, new, place):
    """(old parameter, new parameter) of everything that is carried over."""
    there, here = dict(old.named_parameters()), dict(new.named_parameters())
    pairs = [(there[name], here[name]) for name in there if not name.startswith("blocks.")]
    for layer, source in enumerate(place):
        if source is not None:
            block = dict(new.blocks[layer].named_parameters())
            pairs += [(p, block[name]) for name, p in old.blocks[source].named_parameters()]
    return pairs


def _carry(saved: dict, config: OptimConfig, old, optimizer, pairs) -> str:
    """Copy what the old optimizer remembers of each carried parameter, when the new one is of its kind.

    Args:
        saved: the old optimizer's state; config: of the old optimizer.
    """
    before = make_optimizer(old, config)
    if type(before) is not type(optimizer):
        return "the optimizer, another one, starts afresh"
    before.load_state_dict(saved)
    remembered = {}
    for one in _optimizers(before):
        remembered |= one.state
    theirs = {new: parameter for parameter, new in pairs}
    order = [
        (one, p) for one in _optimizers(optimizer) for group in one.param_groups for p in group["params"]
    ]
    count = 0
    for one, parameter in order:
        if memory := remembered.get(theirs.get(parameter)):
            one.state[parameter] = {
                key: _first_rows(value, parameter) if torch.is_tensor(value) else value
                for key, value in memory.items()
            }
            count += 1
    return f"the optimizer remembers {count} of {len(order)} parameters"


def _optimizers(optimizer) -> list[torch.optim.Optimizer]:
    """Muon comes with an AdamW of its own."""
    return getattr(optimizer, "optimizers", [optimizer])


PLACES = {"end": _end, "middle": _middle, "between": _between}
