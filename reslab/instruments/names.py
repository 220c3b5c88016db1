"""The names of a model's parts, and the modules that they name."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

KINDS = ("qk", "v", "o", "w1", "w2")


@dataclass(frozen=True)
class Names:
    """Where the parts of a model are: dotted names, of a block's parts inside it; "" where it has none.

    pre-norm     y = x + N_out(F(N(x)))      N_out where there is one: Gemma 2
    parallel     y = x + F_attn(N(x)) + F_mlp(N(x))
    post-norm    y = N(x + F(x))
    """

    blocks: str
    """A list of modules; each takes the stream first, and gives it, alone or first in a tuple."""
    attn: str = ""
    mlp: str = ""
    """Or the last module of the MLP, where it has no module of its own."""
    attn_norm: str = ""
    mlp_norm: str = ""
    """What reads x, or with post-norm what gives y."""
    attn_norm_out: str = ""
    mlp_norm_out: str = ""
    """Norms on what is added."""
    norm_first: bool = True
    """False: y = N(x + F(x))."""
    parallel: bool = False
    """Attention and MLP read the same x."""
    matrices: Mapping[str, tuple] = field(default_factory=dict)
    """qk, v, o, w1, w2 -> names of modules or parameters; (name, function) takes a part of a weight."""


@dataclass(frozen=True)
class Sublayer:
    """The modules of one branch in one block."""

    norm: nn.Module | None
    branch: nn.Module
    norm_out: nn.Module | None

    @property
    def first(self) -> nn.Module:
        """What reads x."""
        return self.norm or self.branch

    @property
    def last(self) -> nn.Module:
        """What gives the part that is added."""
        return self.norm_out or self.branch


def find_blocks(model: nn.Module, names: Names) -> nn.Module:
    """The list of blocks."""
    blocks = find(model, names.blocks)
    if not isinstance(blocks, nn.ModuleList | nn.Sequential) or not len(blocks):
        raise ValueError(f"blocks={names.blocks}: must name a ModuleList or Sequential of {kind_of(model)}")
    if len(set(blocks)) < len(blocks):
        raise ValueError(f"blocks={names.blocks}: a block stands in it twice")
    return blocks


def find_sublayers(block: nn.Module, names: Names) -> list[Sublayer]:
    """Attention and MLP of a block, or nothing where they have no names."""
    if not (names.attn or names.mlp):
        return []
    if not (names.attn and names.mlp):
        raise ValueError(f"attn={names.attn!r}, mlp={names.mlp!r}: name both, or neither")
    if not names.norm_first and (names.parallel or not (names.attn_norm and names.mlp_norm)):
        raise ValueError("norm_first=False needs attn_norm and mlp_norm, and no parallel=True")
    rows = (names.attn_norm, names.attn, names.attn_norm_out), (names.mlp_norm, names.mlp, names.mlp_norm_out)
    return [Sublayer(*(find(block, name) if name else None for name in row)) for row in rows]


def listed_matrices(matrices) -> dict[str, tuple]:
    """The same matrices, those of a kind in a tuple, where one was given alone."""
    if not isinstance(matrices, Mapping):
        raise ValueError(f"matrices={matrices!r}: must be a dict; its keys may be {', '.join(KINDS)}")
    if unknown := [kind for kind in matrices if kind not in KINDS]:
        raise ValueError(f"matrices has {unknown[0]}; allowed are {', '.join(KINDS)}")

    def listed(given) -> tuple:
        part = isinstance(given, tuple) and len(given) == 2 and callable(given[1])
        return tuple(given) if isinstance(given, tuple | list) and not part else (given,)

    return {kind: listed(given) for kind, given in matrices.items()}


def check_matrices(block: nn.Module, names: Names) -> None:
    """Raises ValueError where a name in matrices is no matrix of a block."""
    parameters = {name: p for name, p in block.named_parameters(remove_duplicate=False) if p.dim() >= 2}
    for kind, entries in names.matrices.items():
        for entry in entries:
            name = entry[0] if isinstance(entry, tuple) and entry else entry
            if name not in parameters and f"{name}.weight" not in parameters:
                raise ValueError(
                    f"matrices: {kind} names {name}, which is no matrix of {kind_of(block)} (it has "
                    f"{', '.join(parameters)}); allowed are {', '.join(KINDS)}, a name or a tuple of names"
                )


def find(root: nn.Module, name: str) -> nn.Module:
    """The module of a dotted name."""
    module, path = root, []
    for word in name.split("."):
        children = dict(module.named_children())
        if word not in children:
            where = ".".join([kind_of(root), *path])
            raise ValueError(
                f"{kind_of(root)} has no module {name!r}: {where} has {', '.join(children) or 'no modules'}"
            )
        module, path = children[word], [*path, word]
    return module


def kind_of(module: nn.Module) -> str:
    return type(module).__name__
