"""Where documents come from: a dataset on the Hugging Face Hub, read by `datasets`, or local files.

Either is read as rows that know how to go on in a later run: a row that holds no text is skipped, reported
and counted.
"""

import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reslab.data.rows import ENDINGS, Bad, ReadError, kind_by_name, kind_of, rows_of
from reslab.data.textfiles import FoundFiles, clean, find_files
from reslab.run.fields import named_line

REPORTED = 10  # bad rows that are reported one by one


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
        unique = len({path.name for path in self.files}) == len(self.files)
        return ", ".join(path.name if unique else str(path) for path in self.files[:3]) + (
            f" and {len(self.files) - 3} more files" if len(self.files) > 3 else ""
        )

    def identity(self) -> dict:
        """What must not change when a prepare is restarted; Rows looks after the files."""
        return {
            "column": self.column,
            "subset": self.subset,
            "repo": "local files" if self.files else self.repo,
        }

    def has_more(self, state: dict | None) -> bool:
        """Whether there is more to read than when a source that was read to its end had this state."""
        if not self.files:
            return False
        if not state:  # they held no document, and may be others by now
            return True
        last = self.files[-1]
        return len(self.files) != len(state["done"]) + 1 or [last.name, last.stat().st_size] != state["file"]

    def open(self, state: dict | None, max_bad: int, quiet: bool = False):
        """The rows, from where a state() says, as LocalRows or HubRows. Raises ValueError, see there."""
        return (LocalRows if self.files else HubRows)(self, state, max_bad, quiet)


class Rows:
    """Documents, and how many rows held none.

    Args:
        state: what state() returned in an earlier prepare.
        max_bad: rows without a text that are skipped; one more is an error.
    """

    def __init__(self, source: Source, max_bad: int, quiet: bool):
        self.source, self.max_bad, self.quiet = source, max_bad, quiet
        self.bad, self.first_bad = 0, None

    def _skip(self, row: Bad) -> None:
        """Count a bad row. Raises ReadError when it is one too many."""
        self.bad += 1
        self.first_bad = self.first_bad or row
        if self.bad > self.max_bad:
            raise ReadError(
                f"{row.place}: {row.why}; bad rows so far: {self.bad:,}, skipped are up to "
                f"--max_bad={self.max_bad:,}; mend it, or skip more, and the same command goes on"
            )
        if not self.quiet and self.bad <= REPORTED:
            rest = "; further ones are only counted" if self.bad == REPORTED else ""
            print(f"skipped {row.place}: {row.why}{rest}", file=sys.stderr, flush=True)

    def _check_any(self, documents: int) -> None:
        """Raises ReadError when all rows were bad."""
        if not documents and self.first_bad:
            raise ReadError(f"{self.first_bad.place}: {self.first_bad.why}; and no row holds a text")


class LocalRows(Rows):
    """The documents of local files, one file after the other.

    A state holds the names and sizes of the files that are done, and how many documents of the current one
    were read, with their checksum: rows that follow may be mended or added, and so may files.

    Raises:
        ValueError: the state is of other files.
    """

    def __init__(self, source: Source, state: dict | None, max_bad: int, quiet: bool):
        super().__init__(source, max_bad, quiet)
        now = [[path.name, path.stat().st_size] for path in source.files]
        fresh = {"done": [], "file": now[0], "documents": 0, "crc": 0, "bad": 0}
        self._state = dict(state or fresh)
        self.bad = self._state["bad"]
        done = self._state["done"]
        names = [*done, self._state["file"]]
        for number, (name, size) in enumerate(names):
            there = now[number] if number < len(now) else ["nothing", 0]
            if there[0] != name or (number < len(done) and there[1] != size):
                raise ValueError(
                    f"{source}: file {number + 1} is {there[0]} of {there[1]:,} bytes, the shards were made "
                    f"from {name} of {size:,} bytes; give the files as they were, or choose another --out, "
                    "or --overwrite"
                )

    def state(self) -> dict:
        return self._state | {"skipped": self.bad}

    def __iter__(self) -> Iterator[str]:
        state, read, crc = self._state, self._state["documents"], self._state["crc"]
        for number in range(len(state["done"]), len(self.source.files)):
            path = self.source.files[number]
            if number > len(state["done"]):
                state["done"], state["bad"] = [*state["done"], state["file"]], self.bad
                read = crc = 0
            state |= {"file": [path.name, path.stat().st_size], "documents": 0, "crc": 0}
            for row in rows_of(path, self.source.column):
                if isinstance(row, Bad):
                    self._skip(row)
                    continue
                state["documents"] += 1
                state["crc"] = zlib.crc32(row.encode(), state["crc"])
                if state["documents"] > read:
                    yield row
                elif state["documents"] == read and state["crc"] != crc:
                    break
            if state["documents"] < read or (state["documents"] == read and state["crc"] != crc):
                raise ReadError(
                    f"{path}: its first {read:,} documents are not those that the shards were made from; put "
                    "them back, or choose another --out, or --overwrite"
                )
        self._check_any(len(state["done"]) + state["documents"])


class HubRows(Rows):
    """The documents of a dataset on the Hugging Face Hub.

    Raises:
        ValueError: they can't be read, or have no such column.
    """

    def __init__(self, source: Source, state: dict | None, max_bad: int, quiet: bool):
        super().__init__(source, max_bad, quiet)
        self.documents = self.bad = 0
        import datasets
        from huggingface_hub.utils import logging

        logging.set_verbosity_error()
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)
        datasets.disable_progress_bars()
        column = source.column
        try:
            stream = datasets.load_dataset(source.repo, source.subset, split="train", streaming=True)
            columns = stream.column_names or list(next(iter(stream), {column: ""}))
        except Exception as error:  # the Hub's client raises errors of several libraries
            raise ReadError(self._fault(error)) from None
        if column not in columns:
            raise ReadError(
                f"{source}: no column {column}; there are {', '.join(columns)}: choose with --text_column"
            )
        self.stream = stream.select_columns([column])
        if state:
            self.stream.load_state_dict(state["stream"])
            self.bad, self.documents = state["skipped"], state["documents"]

    def state(self) -> dict:
        return {"stream": self.stream.state_dict(), "skipped": self.bad, "documents": self.documents}

    def __iter__(self) -> Iterator[str]:
        rows, column = iter(self.stream), self.source.column
        while True:
            try:
                text = next(rows)[column]
            except StopIteration:
                return self._check_any(self.documents)
            except Exception as error:  # the network, a damaged file
                raise ReadError(self._fault(error)) from None
            if isinstance(text, str):
                self.documents += 1
                yield clean(text)
            else:
                number = self.documents + self.bad + 1
                self._skip(Bad(f"{self.source}, row {number}", f"its {column} is {text!r}, which is no text"))

    def _fault(self, error: Exception) -> str:
        """An error of reading, as one line that says what to do."""
        return (
            f"{self.source}: can't be read from the Hugging Face Hub ({named_line(error)}); try again, or "
            "give copies of its parquet or jsonl files with --input PATH ..."
        )


def find_inputs(paths: list[Path]) -> FoundFiles:
    """The files themselves, and those in folders, sorted; all of one kind.

    Raises ValueError for a path that does not exist, a file of no known kind, and for two kinds.
    """
    inputs = find_files(paths, lambda name: kind_by_name(name) is not None)
    if paths and not inputs.files:
        raise ValueError(f"{', '.join(map(str, paths))}: holds no file that ends in {ENDINGS}")
    kinds = {kind_of(path): path for path in inputs.files}
    if len(kinds) > 1:
        examples = ", ".join(f"{kind} ({path})" for kind, path in sorted(kinds.items()))
        raise ValueError(
            f"{', '.join(map(str, paths))}: files of {len(kinds)} kinds; give one kind: {examples}"
        )
    return inputs
