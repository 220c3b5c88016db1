"""The run directory: config.json, metrics.jsonl, checkpoint/. The only hand-over between programs.

metrics.jsonl has one row per line; `step` counts the updates that the weights have had. Keys:

    train/loss, val/loss            nats per token on the fixed evaluation sequences, and their _se
    val/perplexity, val/word_perplexity, val/bits_per_char, val/bits_per_byte
    batch/loss, batch/grad_norm     of the batch about to be learned from; the norm before clipping
    learning_rate, tokens_per_s, elapsed_s, mfu (on a GPU)
    probe/<name>                    a list over layers or sublayers, see reslab/instruments/probes.py
    sample/prompt, sample/text      what the model makes of the first words of the validation split
    early_warning                   the one line of a stack that is unlikely to train
    status, diagnosis               the last row: finished or diverged, and what it means
    first_bad, sequence_starts      of a divergence: the first bad layer, and where the batch begins in train
    changed                         settings that a restart changed: {key: [before, now]}
"""

import json
import math
import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reslab import INSTALLED, __version__
from reslab.run.config import MachineError
from reslab.run.derived import with_derived
from reslab.run.fields import INT_LIMIT, short
from reslab.run.files import no_such_place, output_fault, parse_json, write_atomically
from reslab.run.launch import command_line


class RunLog:
    """Appends rows to a run's metrics.jsonl.

    Args:
        folder: the run directory.
        keep_bytes: rows beyond this size are cut off: the checkpoint that the run resumes from is older.

    Raises:
        ValueError: the file is smaller than that, so rows are lost.
    """

    def __init__(self, folder: Path, keep_bytes: int = 0):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "metrics.jsonl"
        self.path = path
        self._file = path.open("ab", buffering=0)
        if self._file.tell() < keep_bytes:
            raise ValueError(
                f"{path}: {self._file.tell()} bytes, the checkpoint knows {keep_bytes}; rows are lost, so "
                "start again with --overwrite"
            )
        self._file.truncate(keep_bytes)

    def write(self, row: dict) -> None:
        """Add a row. A number that is not finite becomes null: JSON has no word for it.

        Raises:
            MachineError: the disk does not take it. A half row is cut off when the run is resumed.
        """
        line = as_line(row).encode()
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise MachineError(f"{self.path}: can't be written ({error.strerror})") from None

    def size(self) -> int:
        """Bytes on the disk after the rows so far."""
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()


def as_line(row: dict) -> str:
    """A row as a line of JSON; a number that is not finite becomes null."""
    return json.dumps({key: _finite(value) for key, value in row.items()}, allow_nan=False) + "\n"


class NoLog:
    """The RunLog of a rank that does not write."""

    def write(self, row: dict) -> None:
        pass

    def size(self) -> int:
        return 0

    def close(self) -> None:
        pass


def _finite(value):
    """A value without numbers that JSON has no word for, which become null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Run:
    """What a run directory tells."""

    folder: Path
    config: dict
    """Every setting, flat."""
    facts: dict
    """The rest of config.json: versions, device, dataset, parameters."""
    rows: list[dict]

    @property
    def status(self) -> str:
        """finished, diverged, or unfinished."""
        return self.rows[-1].get("status", "unfinished") if self.rows else "unfinished"

    def series(self, key: str) -> tuple[list[int], list[float]]:
        """Steps and values of the rows that have a key."""
        rows = [row for row in self.rows if row.get(key) is not None]
        return [row["step"] for row in rows], [row[key] for row in rows]

    def last(self, key: str):
        """The newest value of a key, or None."""
        return next((row[key] for row in reversed(self.rows) if row.get(key) is not None), None)


def read_run(folder: str | Path) -> Run:
    """Read a run directory, finished or not; a last line that was cut short is left out.

    Raises:
        ValueError: it is not a run directory, or a file in it is damaged.
    """
    folder = Path(folder)
    path = folder / "config.json"
    try:
        facts = parse_json(path.read_bytes(), f"{path}")
    except (FileNotFoundError, NotADirectoryError):
        reason = no_such_place(folder) or f"{folder}: not a run directory (no config.json)"
        raise ValueError(reason) from None
    config = facts.pop("config", None)
    if not isinstance(config, dict):
        raise ValueError(f"{path}: not the record of a run (no settings under config)")
    metrics = folder / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines() if metrics.exists() else []
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            if number < len(lines):
                raise ValueError(f"{metrics}, line {number}: not JSON") from None
            continue
        try:
            rows.append(whole_row(row))
        except ValueError as fault:
            raise ValueError(f"{metrics}, row {number}: {fault}") from None
    return Run(folder, config, facts, rows)


def whole_row(row: dict) -> dict:
    """A row of metrics with its derived probes. Raises ValueError where it has another shape."""
    if fault := row_fault(row):
        raise ValueError(fault)
    try:
        return with_derived(row)
    except (TypeError, ArithmeticError, LookupError):
        raise ValueError("a probe of another shape") from None


def row_fault(row) -> str | None:
    """What is wrong with the shape of a row of metrics."""
    if not isinstance(row, dict):
        return f"a {type(row).__name__}, must be an object"
    step = row.get("step")
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < INT_LIMIT:
        return "no whole number under step"
    for key, value in row.items():
        if key.startswith(("train/", "val/", "batch/")) or key in ("tokens_per_s", "elapsed_s"):
            if value is not None and not is_number(value):
                return no_number(key, value)
        elif key in ("status", "diagnosis", "early_warning") and not isinstance(value, str | None):
            return f"{key} is a {type(value).__name__}, must be text"
        elif key.startswith("probe/") and not _are_numbers(value):
            return f"{key}: must be a number, or a list of numbers or of such lists"
    return None


def is_number(value) -> bool:
    """Whether a value is a number as readers take one."""
    is_integer = isinstance(value, int) and not isinstance(value, bool) and abs(value) < INT_LIMIT
    return is_integer or isinstance(value, float)


def no_number(key: str, value) -> str:
    """What is wrong with a value that is_number() refuses."""
    if type(value) is int:
        return f"{key} is {short(value)}, too large: must be between -2**63 and 2**63"
    return f"{key} is a {type(value).__name__}, must be a number"


def _are_numbers(value) -> bool:
    if isinstance(value, list):
        return all(item is None or is_number(item) for item in value) or all(map(_are_numbers, value))
    return value is None or is_number(value)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run directory: other programs have a config.json too."""
    try:
        facts = parse_json((folder / "config.json").read_bytes(), "")
    except (OSError, ValueError):
        return False
    return isinstance(facts.get("config"), dict) and "out_dir" in facts["config"]


def write_config(folder: Path, config: dict, facts: dict) -> None:
    """config.json: every setting, and where the run was made. Atomic."""
    content = {
        "config": config,
        "command": command_line(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "reslab": __version__,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    } | facts
    write_atomically(folder / "config.json", json.dumps(_finite(content), ensure_ascii=False, indent=1))


def check_run_dir(folder: Path, config: dict, resume: bool, overwrite: bool, free: set[str]) -> None:
    """See that a run may use this folder, and that nothing in it would be lost.

    Args:
        config: the settings of the run that is about to start.
        free: settings that a resumed run may change; batch_size too when gradient_accumulation_steps
            makes up for it.

    Raises:
        ValueError: a run is there and neither resume nor overwrite says what to do with it; there is
            none to resume; it was started with other settings; the folder is something else.
    """
    if not folder.exists() or (folder.is_dir() and {path.name for path in folder.iterdir()} <= {"lock"}):
        if resume:
            raise ValueError(f"out_dir={folder}: there is no run to resume; leave --resume out to start one")
        if reason := output_fault(folder, folder=True):
            raise ValueError(f"out_dir={folder}: {reason}")
        return
    if not is_run(folder):
        raise ValueError(f"out_dir={folder}: exists and is not a run directory; choose another --out_dir")
    if resume == overwrite:
        raise ValueError(
            f"out_dir={folder}: a run is there; choose one of --resume (go on with it), --overwrite "
            "(delete it) and another --out_dir (leave it alone)"
        )
    if not resume:
        return
    saved = read_run(folder).config
    parts = ("batch_size", "gradient_accumulation_steps")
    sizes = [math.prod(c[key] for key in parts if type(c.get(key)) is int) for c in (saved, config)]
    if sizes[0] == sizes[1]:
        free = free | set(parts)
    faults = [
        f"{key}={now}: the run in {folder} was started with {key}={before}"
        for key, (before, now) in changes(saved, config).items()
        if key not in free
    ]
    if faults:
        raise ValueError("\n".join(faults))


def changes(before: dict, now: dict) -> dict[str, list]:
    """Settings that both have and that differ: key -> [before, now]."""
    return {key: [before[key], value] for key, value in now.items() if before.get(key, value) != value}


def git_commit(folder: Path | None = None) -> str | None:
    """The commit checked out at a folder, with + when files differ from it; None outside a repository.

    Without a folder it is reslab's own, and None for a wheel: that may lie in a repository of somebody else.
    """
    if folder is None and INSTALLED:
        return None
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            cwd=folder or Path(__file__).resolve().parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip()
