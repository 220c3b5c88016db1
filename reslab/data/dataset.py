"""A finished dataset: batches and evaluation sequences as pure functions of (seed, split, step)."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from reslab.data.baselines import Baselines
from reslab.data.folders import SCRIPTS, data_folder, dataset_argument, prepare_script
from reslab.data.shards import TokenStream, earlier_meta, open_split, touched
from reslab.data.tokenizer import tokenizer_from_json
from reslab.run.fields import expand
from reslab.run.files import parse_json

SPLITS = {"train": 0, "val": 1}


class TokenDataset:
    """The two token streams of a folder that a prepare.py wrote.

    Args:
        folder: holds meta.json, and train.bin and val.bin or the shards that it lists.
        block_size: tokens in a sequence.
        seed: of the batches' order.

    Raises:
        ValueError: the dataset is missing or damaged, or a split is shorter than block_size + 1.
    """

    def __init__(self, folder: str | Path, block_size: int, seed: int):
        self.folder, self.block_size, self.seed = Path(folder), block_size, seed
        self._open(read_meta(self.folder))

    def _open(self, meta: dict) -> None:
        folder, block_size, self.meta = self.folder, self.block_size, meta
        self.vocab_size = self.meta["vocab_size"]
        self.tokenizer = read_tokenizer(folder, self.meta)
        self.files, self.ids = {}, {}
        for split in SPLITS:
            files, tokens = open_split(folder, split, self.meta), self.meta["splits"][split]["tokens"]
            if tokens < block_size + 1:
                raise ValueError(
                    f"{folder / split}.bin: {tokens:,} tokens; block_size={block_size} needs at least "
                    f"{block_size + 1:,}: lower --block_size or prepare more text"
                )
            files[0].hold()
            self.files[split] = files
            self.ids[split] = files[0].ids if len(files) == 1 else TokenStream([file.ids for file in files])

    def go_back(self, train_sha256: str) -> bool:
        """Become what the dataset was when its training split had this hash; False if it never had.

        Shards are only ever added, so a run goes on with the tokens that it began with.
        """
        if train_sha256 != self.meta["splits"]["train"]["sha256"]:
            meta = earlier_meta(self.meta, train_sha256)
            if meta is None:
                return False
            self._open(meta)
        return True

    def batch(
        self, split: str, step: int, batch_size: int, part: slice = slice(None)
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets (batch_size, block_size) of one update, int64; of them the rows in part.

        Depends on (seed, split, step) alone: whatever else a run does, it sees the same tokens.
        """
        return self.sequences(split, self.starts(split, step, batch_size)[part])

    def starts(self, split: str, step: int, batch_size: int) -> np.ndarray:
        """Where the sequences of that batch begin, in tokens of the split: (batch_size,)."""
        random = np.random.default_rng([self.seed, SPLITS[split], step])
        return random.integers(0, len(self.ids[split]) - self.block_size, size=batch_size)

    def eval_starts(self, split: str, count: int) -> np.ndarray:
        """Starts of up to count sequences, spread evenly over the split, always the same, disjoint where
        the split has room for that many."""
        last = len(self.ids[split]) - self.block_size - 1
        return np.unique(np.linspace(0, last, min(count, last + 1)).astype(np.int64))

    def baselines(self, count: int) -> dict:
        """Uniform, unigram and bigram cross-entropy on the sequences of eval_starts, in nats per token.

        A loss on the same sequences is compared with these and not with those of the whole split, so which
        sequences were drawn makes no difference.
        """
        sequences = {}
        for split in SPLITS:
            rows = (self.ids[split][s : s + self.block_size + 1] for s in self.eval_starts(split, count))
            sequences[split] = [row.astype(np.int64) for row in rows]
        return Baselines(self.ids["train"], self.vocab_size).read(sequences)

    def sequences(self, split: str, starts: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets (len(starts), block_size) that begin at the given positions, int64."""
        files = touched(self.files[split], starts, self.block_size + 1)
        for file in files:  # before, since reading behind the end of a file that was cut ends the process
            file.check()
        rows = np.stack([self.ids[split][s : s + self.block_size + 1] for s in starts]).astype(np.int64)
        for file in files:  # and after, since these rows may be of what was written meanwhile
            file.check()
        if rows.max() >= self.vocab_size:
            sequence, place = np.unravel_index(rows.argmax(), rows.shape)
            raise ValueError(
                f"{self.folder / split}.bin: token id {rows.max()} at position {starts[sequence] + place} "
                f"in a vocabulary of {self.vocab_size}; the file is damaged, prepare it again"
            )
        rows = torch.from_numpy(rows)
        return rows[:, :-1], rows[:, 1:]


def open_dataset(name: str, block_size: int, seed: int) -> TokenDataset:
    """A dataset by its name under data/, or by its path; the embedded corpus is made when it is missing.

    Raises:
        ValueError: there is none of that name, or TokenDataset can't open it.
    """
    folder = find_folder(name)
    if name == "stdlib" and not (folder / "meta.json").exists():
        print(f"{folder} is not prepared yet: preparing it (some seconds, no network)", flush=True)
        if subprocess.run([sys.executable, SCRIPTS / "stdlib" / "prepare.py", "--if_missing"]).returncode:
            raise ValueError(f"{folder}: could not be prepared, see above")
    return TokenDataset(folder, block_size, seed)


def find_folder(name: str | Path) -> Path:
    """Where a dataset is, or will be once its script has run, by its name in data_folder() or its path.

    Raises ValueError where there is no such folder and no such script.
    """
    is_path = isinstance(name, Path) or "/" in name or "\\" in name or name.startswith("~")
    folder = Path(expand(str(name))) if is_path else data_folder() / name
    if not name or not (folder.is_dir() or prepare_script(folder)):
        known = sorted(path.parent.name for path in SCRIPTS.glob("*/prepare.py"))
        near = [] if not name or is_path else [Path(name), Path("data", name)]  # what --out has named
        near = [dataset_argument(place) for place in near if (place / "meta.json").is_file()]
        hint = f"; {name} is here, not in {data_folder()}: give --dataset={near[0]}" if near else ""
        raise ValueError(f"dataset={name}: no such folder; known names are {', '.join(known)}{hint}")
    return folder


def same_data(saved: dict, name: str) -> bool:
    """Whether a dataset is the one that a run's config.json tells of, wherever either lies.

    Args:
        saved: the entry `dataset` of config.json.
    """
    try:
        meta = read_meta(find_folder(name))
    except ValueError:
        return False
    wanted = saved["splits"]["train"]["sha256"]
    return wanted == meta["splits"]["train"]["sha256"] or earlier_meta(meta, wanted) is not None


def read_meta(folder: Path) -> dict:
    """meta.json of a finished dataset. Raises ValueError where there is none, or a damaged one."""
    path = folder / "meta.json"
    try:
        meta = parse_json(path.read_bytes(), f"{path}")
        for count in (meta, *(meta["splits"][split] for split in SPLITS)):  # the fields that are used
            numbers = ("vocab_size",) if count is meta else ("tokens", "chars", "bytes")
            if not all(type(count[key]) is int and count[key] > 0 for key in numbers):
                raise TypeError(f"{', '.join(numbers)} must be positive numbers")
            if type(words := count.get("words", 0)) is not int or words < 0:  # shards do not tell it
                raise TypeError("words must be a number")
        meta["baselines_nats"], meta["tokenizer"], meta["source"], meta["source_sha256"], meta["dtype"]
        meta["splits"]["train"]["sha256"], meta["splits"]["val"]["sha256"]
    except FileNotFoundError:
        script = prepare_script(folder)
        advice = (
            f"run: python {script}"
            if script
            else f"write it with: python data/text/prepare.py PATH ... --out {folder}"
        )
        raise ValueError(f"{folder}: no finished dataset (no meta.json); {advice}") from None
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged ({type(error).__name__}: {error}); prepare it again") from None
    return meta


def read_tokenizer(folder: Path, meta: dict):
    """The tokenizer of a meta.json. Raises ValueError when it is none, or has ids beyond the vocabulary."""
    try:
        tokenizer = tokenizer_from_json(meta["tokenizer"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder}: its meta.json holds no tokenizer ({error}); prepare it again") from None
    if tokenizer.vocab_size > meta["vocab_size"]:
        raise ValueError(
            f"{folder}: its meta.json holds a tokenizer of {tokenizer.vocab_size} ids and a vocabulary of "
            f"{meta['vocab_size']}: not of one dataset; prepare it again"
        )
    return tokenizer
