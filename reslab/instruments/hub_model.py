"""A model of transformers from a folder or the Hugging Face Hub, and a text as sequences of its tokens.

No code of a model's folder is run: transformers reads its own architectures only.
"""

import json
from pathlib import Path

import torch

from reslab.data.textfiles import clean
from reslab.instruments.anatomy import FAMILIES, unknown_parts
from reslab.run.fields import first_line
from reslab.run.files import read_input

LENGTH = 64  # tokens of a sequence, where the text and the model's positions allow it


def is_model_folder(place: Path) -> bool:
    """Whether a folder holds a model of transformers: its config.json names a model_type."""
    try:
        config = json.loads((place / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and "model_type" in config


def load(place: str):
    """The model, in eval mode and float32 on the CPU, and its tokenizer.

    Args:
        place: a folder, or a name on the Hub such as gpt2 or EleutherAI/pythia-70m.

    Raises:
        ValueError: transformers is not installed, there is no such model, or its parts are not known here.
    """
    if _is_path(place) and not Path(place).is_dir():
        raise ValueError(f"{place}: no such folder")
    try:
        if not Path(place).is_dir():
            _ask_hub(place)
        import transformers
    except ImportError:
        raise ValueError(
            f"{place}: transformers is not installed; it reads this model: pip install 'transformers>=5'"
        ) from None
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    options = {"local_files_only": True} if Path(place).is_dir() else {}
    config = _first_line(place, lambda: transformers.AutoConfig.from_pretrained(place, **options))
    if config.model_type not in FAMILIES:
        raise ValueError(f"{place}: {unknown_parts(config.model_type)}")
    tokenizer = _first_line(place, lambda: transformers.AutoTokenizer.from_pretrained(place, **options))
    model, report = _first_line(
        place,
        lambda: transformers.AutoModelForCausalLM.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, **options
        ),
    )
    if missing := sorted(report["missing_keys"]):
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise ValueError(f"{place}: has no weights for {missing[0]}{more}")
    return model.eval(), tokenizer


def _is_path(place: str) -> bool:
    """Whether it can be no name on the Hub, which is NAME or OWNER/NAME."""
    return place.startswith((".", "~", "/")) or place.count("/") > 1 or "\\" in place


def _ask_hub(place: str) -> None:
    """Ask the Hub once for a model that was not downloaded before; transformers would ask six times, for half
    a minute, before it says that it gets no answer.

    Raises:
        ValueError: no answer within HF_HUB_ETAG_TIMEOUT seconds (10), or no such model.
    """
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    try:
        if isinstance(try_to_load_from_cache(place, "config.json"), str):
            return
        get_hf_file_metadata(hf_hub_url(place, "config.json"))
        return
    except (errors.GatedRepoError, errors.EntryNotFoundError):
        return  # transformers says what is the matter
    except errors.RepositoryNotFoundError:
        reason = "has no model of this name that you may read"
    except errors.HfHubHTTPError:
        return  # it answers: transformers asks again
    except Exception as error:
        reason = f"can't be asked for it ({first_line(error)})"
    raise ValueError(f"{place}: no such folder, and the Hugging Face Hub {reason}")


def _first_line(place: str, call):
    """What a call gives; an error of any of the libraries below it as one line."""
    try:
        return call()
    except Exception as error:
        where = "" if Path(place).is_dir() else "no such folder, and from the Hugging Face Hub it "
        raise ValueError(f"{place}: {where}can't be loaded ({first_line(error)})") from None


def read_text(path: Path) -> str:
    """A text file. Raises ValueError in one line when it can't be read."""
    try:
        return clean(read_input(path).decode())
    except UnicodeDecodeError:
        raise ValueError(f"text={path}: not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"text={path}: can't be read ({error.strerror})") from None


def sequences(text: str, tokenizer, count: int, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences from all over a text, as inputs and targets (N, T), N at most `count`, T at most LENGTH.

    Each begins with the token that the tokenizer puts before a text, if it has one.

    Args:
        positions: the longest sequence that the model takes.

    Raises:
        ValueError: the text is shorter than two sequences of two tokens.
    """
    ids = torch.tensor(tokenizer(text, add_special_tokens=False, verbose=False).input_ids, dtype=torch.long)
    opening = _opening(tokenizer)
    length = min(LENGTH, positions - len(opening), len(ids) // 2 - 1)
    if length < 2:
        raise ValueError(f"text has {len(ids)} tokens; give at least 6, better 10,000")
    count = min(count, (len(ids) - 1) // length)
    starts = torch.linspace(0, len(ids) - length - 1, count).long()
    rows = torch.stack([torch.cat([opening, ids[start : start + length + 1]]) for start in starts])
    return rows[:, :-1], rows[:, 1:]


def _opening(tokenizer) -> torch.Tensor:
    """The ids that the tokenizer puts before a text."""
    plain = tokenizer("a", add_special_tokens=False).input_ids
    opened = tokenizer("a").input_ids
    first = next((k for k in range(len(opened)) if opened[k : k + len(plain)] == plain), 0)
    return torch.tensor(opened[:first], dtype=torch.long)


def positions_of(model) -> int:
    """The longest sequence that a model takes; a large number where nothing limits it."""
    return getattr(model.config, "max_position_embeddings", None) or 1 << 30
