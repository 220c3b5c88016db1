"""Models of other programs as ours, and ours as theirs.

    gpt2, gpt2-medium, gpt2-large, gpt2-xl    OpenAI's, downloaded once by transformers
    DIR                                       a folder of transformers, of a family of families.py
    ckpt.pt                                   nanoGPT's checkpoint

The same function with the same weights, or a refusal that says what is missing: nothing is approximated, no
tensor is left out. No code from a file is run: transformers reads its own architectures only, torch.load
reads weights only.
"""

from dataclasses import replace
from pathlib import Path

import torch

from reslab.run.fields import first_line, from_flat
from reslab.run.files import parse_json
from reslab.run.log import read_run
from reslab.run.settings import GPTConfig
from reslab.training import exchange, foreign_files
from reslab.training.families import FAMILIES, NANOGPT, Family
from reslab.training.formats import WEIGHTS, canonical, contradictions, from_settings
from reslab.training.same_tokenizer import GPT2_VOCAB, check_tokenizer

# Layers, heads and width (Radford et al. 2019).
GPT2_SIZES = {
    "gpt2": (12, 12, 768),
    "gpt2-medium": (24, 16, 1024),
    "gpt2-large": (36, 20, 1280),
    "gpt2-xl": (48, 25, 1600),
}


def is_own(source: str) -> bool:
    """Whether init_from names a run directory of ours."""
    return (Path(source) / "metrics.jsonl").is_file()


def is_foreign(source: str) -> bool:
    """Whether init_from names a model of another program, and not a run directory of ours."""
    folder, config = Path(source), Path(source) / "config.json"
    if (
        source in GPT2_SIZES
        or folder.is_file()
        or any((folder / n).is_file() for n in foreign_files.ADAPTERS)
    ):
        return True
    return config.is_file() and "model_type" in _json(config)


def resolve_shape(shape: GPTConfig, source: str, run: Path | None = None) -> GPTConfig:
    """The GPTConfig `shape` with the settings that the weights of `source` dictate, if it is foreign.

    Wiring, dropout and a smaller block_size stay the run's own.

    Args:
        run: a run directory that goes on, and knows these settings even when the source is gone.

    Raises:
        ValueError: a setting was given that contradicts the weights.
    """
    if run and (run / "config.json").is_file() and not (is_own(source) or source == "scratch"):
        before = from_flat(GPTConfig, read_run(run).config)
        dictated = {key: getattr(before, key) for key in WEIGHTS}
    elif is_foreign(source):
        dictated = read_settings(source)
    else:
        return shape
    default = GPTConfig()
    longest = dictated.pop("block_size")
    resolved = replace(shape, **dictated)
    given = {key: getattr(shape, key) for key in vars(default) if key in dictated}
    faults = [
        f"{key}={value}: {source} has {dictated[key]}; leave it out"
        for key, value in given.items()
        if value != getattr(default, key) and not _is_same(resolved, key, value)
    ]
    if shape.n_layer not in (default.n_layer, dictated["n_layer"]):
        faults.append(f"to grow {source}, make it a run (--max_iters=0) and start from that with --n_layer=N")
    block_size = shape.block_size if shape.block_size != default.block_size else min(256, longest)
    if dictated["pos"] == "learned" and block_size > longest:
        faults.append(f"block_size={block_size}: {source} has learned {longest} positions, and no more")
    if faults:
        raise ValueError("\n".join(faults))
    resolved = replace(resolved, block_size=block_size)
    is_folder = source not in GPT2_SIZES and (Path(source) / "config.json").is_file()
    if is_folder and (faults := contradictions(*_their_config(source), resolved)):
        raise ValueError("\n".join(f"init_from={source}: {fault}" for fault in faults))
    return resolved


def _is_same(config: GPTConfig, key: str, value) -> bool:
    """Whether a setting with another value is the same model, as n_kv_head=n_head is that of 0."""
    return canonical(replace(config, **{key: value})) == canonical(config)


def resolve_init_from(config):
    """The TrainConfig `config` with the shape of the model that it starts from, where that is foreign."""
    run = Path(config.out_dir) if config.resume else None
    return replace(config, model=resolve_shape(config.model, config.init_from, run))


def read_settings(source: str) -> dict:
    """GPTConfig settings of a foreign model. Raises ValueError naming what our model can't express."""
    defaults = {key: getattr(GPTConfig(), key) for key in WEIGHTS}
    if source in GPT2_SIZES:
        n_layer, n_head, n_embd = GPT2_SIZES[source]
        shape = {"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd, "vocab_size": GPT2_VOCAB}
        return defaults | shape | {"block_size": 1024}
    if Path(source).is_file():
        saved = foreign_files.read_nanogpt(source)
        args, state = saved["model_args"], saved["model"]
        shape = {key: args[key] for key in foreign_files.SHAPE}
        head, embedding = state.get("lm_head.weight"), state.get("transformer.wte.weight")
        tied = head is None or embedding is None or torch.equal(head, embedding)
        return defaults | shape | {"bias": args.get("bias", True), "mlp": "gelu_erf", "tie_weights": tied}
    family, config = _their_config(source)
    try:
        return from_settings(family, config)
    except ValueError as error:
        raise ValueError(f"init_from={source}: {error}") from None


def _their_config(source: str):
    """The family of a folder of transformers, and its config."""
    foreign_files.refuse_folder(Path(source))
    saved = _json(Path(source) / "config.json")
    kind = saved["model_type"]
    if kind not in FAMILIES:
        raise ValueError(f"init_from={source}: model_type={kind}; known are {', '.join(FAMILIES)}")
    if saved.get("quantization_config"):
        raise ValueError(
            f"init_from={source}: its weights are quantised; give those that they were made from"
        )
    config = getattr(transformers(), f"{FAMILIES[kind].name}Config")
    try:
        return FAMILIES[kind], config.from_pretrained(source, local_files_only=True)
    except Exception as error:  # of transformers' own checks
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        raise ValueError(f"init_from={source}: its config.json can't be read ({reason})") from None


def fill(source: str, model, tokenizer: dict) -> str:
    """Give a fresh model, whose config is resolved, the weights of a foreign one.

    Args:
        tokenizer: of the data that the run reads, as JSON.

    Returns:
        one line that says what was done.

    Raises:
        ValueError: another tokenizer, a wiring that has no place for the weights, a damaged file, or weights
            that are not those of the model.
    """
    family = _family(source)
    check_tokenizer(source, tokenizer, model.config.vocab_size, family in (FAMILIES["gpt2"], NANOGPT))
    exchange.load_weights(source, model, family, _read_state(source, family))
    c = model.config
    return (
        f"started from {source}: n_layer={c.n_layer} n_head={c.n_head} n_embd={c.n_embd} "
        f"vocab_size={c.vocab_size} block_size={c.block_size}, {model.count_parameters():,} parameters"
    )


def to_transformers(model, vocab_size: int | None = None):
    """The same function as a model of transformers; see exchange.py."""
    return exchange.to_transformers(transformers(), model, vocab_size)


def transformers():
    """The package, which is asked for only here. Raises ValueError when it is not installed."""
    try:
        import transformers as package
    except ImportError:
        raise ValueError(
            "transformers is not installed, and reading or writing its models needs it: "
            "pip install 'transformers>=5'"
        ) from None
    package.utils.logging.disable_progress_bar()
    return package


def _family(source: str) -> Family:
    if Path(source).is_file():
        return NANOGPT
    return FAMILIES["gpt2" if source in GPT2_SIZES else _json(Path(source) / "config.json")["model_type"]]


def _read_state(source: str, family: Family) -> dict[str, torch.Tensor]:
    """The parameters of a foreign model, on the CPU, in float32."""
    if family is NANOGPT:
        return foreign_files.read_nanogpt(source)["model"]
    place = f"openai-community/{source}" if source in GPT2_SIZES else source
    package = transformers()
    told, loader = package.utils.logging.get_verbosity(), getattr(package, family.model)
    package.utils.logging.set_verbosity_error()  # what it would warn of is refused below
    try:
        model, info = loader.from_pretrained(
            place,
            local_files_only=source not in GPT2_SIZES,
            dtype=torch.float32,
            weights_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:  # of many libraries: no network, no file, a damaged file
        advice = "; go online once, or give a local folder" if source in GPT2_SIZES else ""
        raise ValueError(f"init_from={source}: can't be loaded ({first_line(error)}){advice}") from None
    finally:
        package.utils.logging.set_verbosity(told)
    exchange.refuse_mismatch(source, info["missing_keys"], info["unexpected_keys"], info["mismatched_keys"])
    return model.state_dict()


def _json(path: Path) -> dict:
    try:
        return parse_json(path.read_bytes(), f"{path}")
    except OSError as error:
        raise ValueError(f"{path}: can't be read ({error})") from None
