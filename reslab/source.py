"""Where documents come from: a dataset on the Hugging Face Hub or local files, read by `datasets`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KINDS = {".parquet": "parquet", ".jsonl": "json", ".jsonl.gz": "json"}


class ReadError(ValueError):
    """The documents can't be read on; what was written so far is good."""


@dataclass(frozen=True)
class Source:
    """Where documents come from: a dataset on the Hugging Face Hub, or local files of one kind."""

    repo: str
    subset: str | None = None
    files: tuple[Path, ...] = ()
    column: str = "text"

    def __str__(self) -> str:
        if not self.files:
            return self.repo + f" ({self.subset})" * bool(self.subset)
        return ", ".join(p.name for p in self.files[:3]) + (
            f" and {len(self.files) - 3} more files" if len(self.files) > 3 else ""
        )

    def identity(self) -> dict:
        """What must not change between the lives of one prepare."""
        files = [[path.name, path.stat().st_size] for path in self.files]
        return {"column": self.column, "subset": self.subset, "files": files or self.repo}

    def open(self, state: dict | None):
        """The documents as a datasets.IterableDataset, from where its state_dict() says.

        Raises:
            ValueError: they can't be read, or have no such column.
        """
        import datasets
        from huggingface_hub.utils import logging

        logging.set_verbosity_error()
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)
        datasets.disable_progress_bars()
        try:
            if self.files:
                kind, files = KINDS[_kind(self.files[0])], [str(path) for path in self.files]
                stream = datasets.load_dataset(kind, data_files=files, split="train", streaming=True)
            else:
                stream = datasets.load_dataset(self.repo, self.subset, split="train", streaming=True)
            columns = stream.column_names or list(next(iter(stream), {self.column: ""}))
        except Exception as error:  # the Hub's client raises errors of several libraries
            raise ValueError(self.fault(error)) from None
        if self.column not in columns:
            raise ValueError(
                f"{self}: no column {self.column}; there are {', '.join(columns)}: choose with --text_column"
            )
        stream = stream.select_columns([self.column])
        if state:
            stream.load_state_dict(state)
        return stream

    def texts(self, stream, done: int) -> Iterator[str]:
        """The documents that are left. Raises ReadError where one is no text, or can't be read."""
        rows = iter(stream)
        while True:
            try:
                text = next(rows)[self.column]
            except StopIteration:
                return
            except Exception as error:  # the network, a damaged file: errors of several libraries
                raise ReadError(self.fault(error)) from None
            done += 1
            if not isinstance(text, str):
                raise ReadError(f"{self}, document {done}: its {self.column} is {text!r}, which is no text")
            yield text

    def fault(self, error: Exception) -> str:
        """An error of reading, as one line that says what to do."""
        said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no more is known'}"
        if self.files:
            return f"{self}: can't be read ({said})"
        return (
            f"{self}: can't be read from the Hugging Face Hub ({said}); try again, or give copies of its "
            "parquet or jsonl files with --input PATH ..."
        )


def _kind(path: Path) -> str:
    """The ending that tells how a file is read, or nothing."""
    return next((ending for ending in KINDS if path.name.endswith(ending)), "")


def find_inputs(paths: list[Path]) -> tuple[Path, ...]:
    """The files themselves, and those in folders, sorted; all of one kind.

    Raises ValueError for a path that does not exist, a file of no known kind, and for two kinds.
    """
    found = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and _kind(p))
            if not inside:
                raise ValueError(f"{path}: holds no file that ends in {', '.join(KINDS)}")
            found += inside
        elif path.is_file() and _kind(path):
            found.append(path)
        else:
            fault = f"must end in {', '.join(KINDS)}" if path.exists() else "no such file or folder"
            raise ValueError(f"{path}: {fault}")
    if len({KINDS[_kind(path)] for path in found}) > 1:
        raise ValueError(f"{', '.join(map(str, paths))}: parquet and jsonl are mixed; give one kind")
    return tuple(found)
