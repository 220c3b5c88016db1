"""Settings and names of transformers' models as ours, and ours as theirs, by the table of families.py.

Only names are here, so nothing of transformers is imported.
"""

from dataclasses import replace

from reslab.run.fields import with_part
from reslab.run.settings import GPTConfig
from reslab.training.families import FAMILIES, Family

MISSING = object()
WEIGHTS = with_part(GPTConfig, "weights")
# What widths are called where 0 stands for the usual one.
WIDTHS = {"n_kv_head": "kv_heads", "head_dim": "head_width", "n_inner": "mlp_width"}
# Settings of theirs that don't change what the weights compute.
FREE = {"n_positions", "n_ctx", "max_position_embeddings", "resid_pdrop", "embd_pdrop", "attn_pdrop"}


def canonical(config: GPTConfig) -> GPTConfig:
    """The same model; a setting that says what its default gives is at its default."""
    config = replace(config, qkv_bias=config.qkv_bias and not config.bias)
    for key, width in WIDTHS.items():
        short = replace(config, **{key: 0})
        if getattr(short, width) == getattr(config, width):
            config = short
    return config


def prenorm_factors(name: str, residual):
    """(a, b) of AS_PRENORM for a wiring's module, or None where it is no pre-norm."""
    return AS_PRENORM[name](residual) if name in AS_PRENORM else None


def architecture(model) -> str:
    """The model_type that a model of ours is written as.

    Raises:
        ValueError: there is none; which wiring is no pre-norm, and what the nearest family has instead.
    """
    config, faults = canonical(model.config), []
    for residual, branch in model.blocks[0].sublayers():
        name = config.wiring(branch.kind)
        if prenorm_factors(name, residual) is None:
            faults.append(
                f"{branch.kind}_residual={name}: models of transformers compute x + F(N(x)), this wiring: "
                f"{residual.equation}"
            )
    wrong = {
        kind: [key for key, values in family.ours.items() if getattr(config, key) not in values]
        for kind, family in FAMILIES.items()
    }
    nearest = min(wrong, key=lambda kind: len(wrong[kind]))
    if least := len(wrong[nearest]):
        needs = [
            f"{FAMILIES[kind].name} has {key}={' or '.join(map(str, FAMILIES[kind].ours[key]))}"
            for kind, keys in wrong.items()
            if len(keys) == least
            for key in keys
        ]
        mix = ", ".join(f"{key}={getattr(config, key)}" for key in ("norm", "mlp", "pos", "qk_norm", "bias"))
        faults.append(f"{mix}: no model of transformers that is known here is this; {', '.join(needs)}")
    if faults:
        raise ValueError("\n".join(faults))
    return nearest


def their_names(family: Family, name: str) -> list[str]:
    """blocks.0.attn.c_attn.weight -> [transformer.h.0.attn.c_attn.weight]; empty where there is none."""
    module, leaf = name.rsplit(".", 1)
    if not module.startswith("blocks."):
        return [f"{there}.{leaf}" for there in family.modules.get(module, ())]
    _, layer, rest = module.split(".", 2)
    (blocks,) = family.modules["blocks"]
    return [f"{blocks}.{layer}.{there}.{leaf}" for there in family.modules.get(rest, ())]


def their_value(config, name: str):
    """A setting of a config of transformers, or MISSING. `a.b` is b inside the dict a."""
    outer, _, inner = name.partition(".")
    value = getattr(config, outer, MISSING)
    return value.get(inner, MISSING) if inner and isinstance(value, dict) else value


def to_settings(family: Family, config: GPTConfig) -> dict:
    """The settings of transformers, by their names, with which a family computes what a GPTConfig says."""
    settings = {}
    for key, names in family.settings.items():
        value = getattr(config, WIDTHS.get(key, key))
        if key == "mlp":
            value = next(there for there, ours in family.activations.items() if ours == value)
        settings |= dict.fromkeys(names, value)
    return settings | family.theirs


def from_settings(family: Family, config) -> dict:
    """What a config of transformers dictates: GPTConfig's settings that weights depend on.

    Raises:
        ValueError: an activation that is not known, or no model has this shape.
    """
    settings = {key: values[0] for key, values in family.ours.items()}
    for key, (name, *_) in family.settings.items():
        value = their_value(config, name)
        if value is MISSING or value is None:
            continue
        if key == "mlp" and value not in family.activations:
            raise ValueError(f"{name}={value}; this model knows only {', '.join(family.activations)}")
        settings[key] = family.activations[value] if key == "mlp" else value
    shape = GPTConfig(**{key: value for key, value in settings.items() if key in WEIGHTS})
    if faults := shape.faults():
        raise ValueError("; ".join(faults))
    return {key: getattr(canonical(shape), key) for key in WEIGHTS}


def contradictions(family: Family, config, shape: GPTConfig) -> list[str]:
    """Settings of a config of transformers with which its model computes something else than ours."""
    faults = []
    for name, wanted in to_settings(family, shape).items():
        there = their_value(config, name)
        if name in FREE or there in (MISSING, wanted) or (there is None and name not in family.theirs):
            continue
        if name == "sliding_window" and there >= shape.block_size:  # a context that never reaches it
            continue
        if name in family.settings.get("mlp", ()) and family.activations[there] == shape.mlp:
            continue  # another name of the same
        advice = f", or a block_size of at most {there}" if name == "sliding_window" else ""
        faults.append(f"{name}={there}; this model knows only {wanted}{advice}")
    return faults


# Wiring -> a and b with which it computes y = x + b F(a N(x)), b a number or one for each channel. With a in
# the gain of N and b in the output projection that is `pre`.
AS_PRENORM = {
    "pre": lambda residual: (1.0, 1.0),
    "scaled": lambda residual: (1.0, 1.0) if residual.skip == 1 else None,
    "layerscale": lambda residual: (1.0, residual.gain),
    "depth_scaled": lambda residual: (residual.scale, 1.0),
    "completep": lambda residual: (1.0, residual.scale),
    "silent": lambda residual: (1.0, 0.0),
}
