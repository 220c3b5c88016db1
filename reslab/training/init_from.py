"""Models of other programs as ours, and ours as theirs.

    gpt2, gpt2-medium, gpt2-large, gpt2-xl    OpenAI's, downloaded once by transformers
    DIR                                       a folder of transformers: GPT-2, or Llama and Qwen3 of our shape
    ckpt.pt                                   nanoGPT's checkpoint

The same function with the same weights, or a refusal that says what is missing: nothing is approximated.
No code from a file is run: transformers reads its own architectures only, torch.load reads weights only.
"""

from dataclasses import replace
from pathlib import Path

import torch

from reslab.data.tokenizer import tokenizer_from_json
from reslab.run.fields import with_part
from reslab.run.files import parse_json
from reslab.run.log import read_run
from reslab.run.settings import GPTConfig
from reslab.training.formats import FORMATS, architecture, gpt2_settings, is_transposed, their_names

# Layers, heads and width (Radford et al. 2019).
GPT2_SIZES = {
    "gpt2": (12, 12, 768),
    "gpt2-medium": (24, 16, 1024),
    "gpt2-large": (36, 20, 1280),
    "gpt2-xl": (48, 25, 1600),
}
GPT2_VOCAB = 50_257

# Settings of theirs that don't change what the weights compute.
FREE = {"n_positions", "max_position_embeddings", "resid_pdrop", "embd_pdrop", "attn_pdrop"}


def is_own(source: str) -> bool:
    """Whether init_from names a run directory of ours."""
    return (Path(source) / "metrics.jsonl").is_file()


def is_foreign(source: str) -> bool:
    """Whether init_from names a model of another program, and not a run directory of ours."""
    config = Path(source) / "config.json"
    if source in GPT2_SIZES or (Path(source).suffix == ".pt" and Path(source).is_file()):
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
        config = read_run(run).config
        dictated = {key: config[key] for key in with_part(GPTConfig, "weights")}
    elif is_foreign(source):
        dictated = read_settings(source)
    else:
        return shape
    default = GPTConfig()
    longest = dictated.pop("block_size")
    faults = [
        f"{key}={given}: {source} has {value}; leave it out"
        for key, value in dictated.items()
        if (given := getattr(shape, key)) not in (getattr(default, key), value)
    ]
    if shape.n_layer not in (default.n_layer, dictated["n_layer"]):
        faults.append(f"to grow {source}, make it a run (--max_iters=0) and start from that with --n_layer=N")
    block_size = shape.block_size if shape.block_size != default.block_size else min(256, longest)
    if dictated["pos"] == "learned" and block_size > longest:
        faults.append(f"block_size={block_size}: {source} has learned {longest} positions, and no more")
    if faults:
        raise ValueError("\n".join(faults))
    resolved = replace(shape, **dictated, block_size=block_size)
    if source not in GPT2_SIZES and (Path(source) / "config.json").is_file():
        _refuse_what_is_missing(source, resolved)
    return resolved


def resolve_init_from(config):
    """The TrainConfig `config` with the shape of the model that it starts from, where that is foreign."""
    run = Path(config.out_dir) if config.resume else None
    return replace(config, model=resolve_shape(config.model, config.init_from, run))


def read_settings(source: str) -> dict:
    """GPTConfig settings of a foreign model. Raises ValueError naming what our model can't express."""
    if source in GPT2_SIZES:
        n_layer, n_head, n_embd = GPT2_SIZES[source]
        return gpt2_settings(GPT2_VOCAB, 1024, n_layer, n_head, n_embd)
    if source.endswith(".pt"):
        a = _nanogpt(source)["model_args"]
        settings = gpt2_settings(a["vocab_size"], a["block_size"], a["n_layer"], a["n_head"], a["n_embd"])
        return settings | {"bias": a.get("bias", True), "mlp": "gelu_erf"}
    config = _their_config(source)
    return FORMATS[config.model_type][1](config)


def _their_config(source: str):
    kind = _json(Path(source) / "config.json")["model_type"]
    if kind not in FORMATS:
        raise ValueError(f"init_from={source}: model_type={kind}; known are {', '.join(FORMATS)}")
    config = getattr(transformers(), FORMATS[kind][0] + "Config")
    config = config.from_pretrained(source, local_files_only=True)
    if kind == "gpt2" and config.n_inner is None:
        config.n_inner = 4 * config.n_embd
    if kind == "gpt2" and config.activation_function == "gelu_pytorch_tanh":
        config.activation_function = "gelu_new"  # two names of one thing
    return config


def _refuse_what_is_missing(source: str, shape) -> None:
    """See that every setting of a folder's model is one that ours has too."""
    config = _their_config(source)
    wanted = FORMATS[config.model_type][2](shape)
    faults = [
        f"init_from={source}: {key}={there}; this model knows only {value}"
        for key, value in wanted.items()
        if key not in FREE and (there := getattr(config, key)) != value
    ]
    if faults:
        raise ValueError("\n".join(faults))


def fill(source: str, model, tokenizer: dict) -> str:
    """Give a fresh model, whose config is resolved, the weights of a foreign one.

    Args:
        tokenizer: of the data that the run reads, as JSON.

    Returns:
        one line that says what was done.

    Raises:
        ValueError: another tokenizer, a wiring that has no place for the weights, a damaged file.
    """
    _check_tokenizer(source, tokenizer, model.config.vocab_size)
    kind, state = _read_state(source)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            names = their_names(kind, name)
            if not names or any(there not in state for there in names):
                raise ValueError(_no_place(source, model, f"has no weights for {name}"))
            tensor = torch.cat([state[there] for there in names])
            tensor = tensor.T if is_transposed(kind, name) else tensor
            if tensor.shape[1:] != parameter.shape[1:] or len(tensor) < len(parameter):
                raise ValueError(
                    f"{source}: {names[0]} is {tuple(tensor.shape)}, not {tuple(parameter.shape)}"
                )
            parameter.copy_(tensor[: len(parameter)])
    if isinstance(model.ln_f, torch.nn.Identity):
        raise ValueError(_no_place(source, model, "has a norm before the head, this wiring has none"))
    c = model.config
    return (
        f"started from {source}: n_layer={c.n_layer} n_head={c.n_head} n_embd={c.n_embd} "
        f"vocab_size={c.vocab_size} block_size={c.block_size}, {model.count_parameters():,} parameters"
    )


def _no_place(source: str, model, reason: str) -> str:
    c = model.config
    return (
        f"residual={c.wiring('attn')}, {c.wiring('mlp')}: {source} is a pre-norm "
        f"model and {reason}; its weights fit residual=pre, none, scaled"
    )


def to_transformers(model):
    """The same function as a model of transformers.

    Raises:
        ValueError: none of its architectures that are known here computes this function.
    """
    config = model.config
    kind = architecture(config)
    package = transformers()
    settings = getattr(package, FORMATS[kind][0] + "Config")(**FORMATS[kind][2](config))
    theirs = getattr(package, FORMATS[kind][3])(settings)
    state = {name: torch.zeros_like(tensor) for name, tensor in theirs.state_dict().items()}
    for name, parameter in model.named_parameters():
        names = their_names(kind, name)
        tensor = parameter.detach().cpu().float()
        tensor = tensor.T if is_transposed(kind, name) else tensor
        for there, part in zip(names, tensor.split([len(state[n]) for n in names]), strict=True):
            state[there] = part.clone()
    if config.tie_weights:
        state["lm_head.weight"] = state[their_names(kind, "wte.weight")[0]]
    theirs.load_state_dict(state)
    return theirs.eval()


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


def _read_state(source: str) -> tuple[str, dict]:
    """Name of the format and its parameters, on the CPU, in float32."""
    if source.endswith(".pt"):
        state = _nanogpt(source)["model"]
        return "nanogpt", {name.removeprefix("_orig_mod."): tensor for name, tensor in state.items()}
    kind = "gpt2" if source in GPT2_SIZES else _json(Path(source) / "config.json")["model_type"]
    place = f"openai-community/{source}" if source in GPT2_SIZES else source
    loader = getattr(transformers(), FORMATS[kind][3])
    try:
        model = loader.from_pretrained(
            place, local_files_only=source not in GPT2_SIZES, dtype=torch.float32, weights_only=True
        )
    except Exception as error:  # of many libraries: no network, no file, a damaged file
        advice = "; go online once, or give a local folder" if source in GPT2_SIZES else ""
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"init_from={source}: can't be loaded ({reason}){advice}") from None
    return kind, model.state_dict()


def _nanogpt(source: str) -> dict:
    try:
        saved = torch.load(source, map_location="cpu", weights_only=True, mmap=True)
        wanted = ("vocab_size", "block_size", "n_layer", "n_head", "n_embd")
        if wrong := [key for key in wanted if type(saved["model_args"][key]) is not int]:
            raise TypeError(f"no whole number for {', '.join(wrong)}")
        if not all(map(torch.is_tensor, saved["model"].values())):
            raise TypeError("model holds more than tensors")
        return {"model": saved["model"], "model_args": saved["model_args"]}
    except Exception as error:  # of many kinds, some without a text
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"init_from={source}: not a checkpoint of nanoGPT that loads without running code ({reason})"
        ) from None


def _check_tokenizer(source: str, saved: dict, vocab_size: int) -> None:
    """Ids must mean to the weights what they mean in the dataset."""
    ours = tokenizer_from_json(saved)
    name = saved.get("name", saved["kind"])
    folder = Path(source)
    if (folder / "tokenizer.json").is_file() or (folder / "vocab.json").is_file():
        theirs = transformers().AutoTokenizer.from_pretrained(source, local_files_only=True)
        text = ours.decode_bytes(range(0, ours.vocab_size, max(1, ours.vocab_size // 500))).decode(
            "utf-8", "ignore"
        )
        try:
            same = theirs(text, add_special_tokens=False).input_ids == ours.encode(text).tolist()
        except Exception:  # a character that theirs does not know
            same = False
        wanted = f"the tokenizer in {source}"
    elif vocab_size >= GPT2_VOCAB:
        same, wanted = (
            name == "gpt2",
            "GPT-2's tokens (dataset=shakespeare, or --tokenizer gpt2 in prepare.py)",
        )
    else:  # nothing but its size is known
        same, wanted = ours.vocab_size == vocab_size, f"a vocabulary of {vocab_size}"
    if not same:
        raise ValueError(f"init_from={source}: its weights know {wanted}, the dataset's tokenizer is {name}")


def _json(path: Path) -> dict:
    try:
        return parse_json(path.read_bytes(), f"{path}")
    except OSError as error:
        raise ValueError(f"{path}: can't be read ({error})") from None
