"""Faults made on purpose by `python -m tests.torture`: what must hold, and what was counted."""

from experiments.tables import Table, markdown

FACTS = {"command", "date", "machine", "torch", "git_commit", "seconds"}
# Row of tests/torture -> the fault, and what must hold.
FAULTS = {
    "kill -9": (
        "kill -9 at random instants, at least half of them inside a save",
        "each resume finds a whole checkpoint; metrics and final weights are those of an "
        "uninterrupted run, bit for bit, with dropout, accumulation and probes on",
    ),
    "signals": (
        "SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGXCPU, SIGABRT at random instants",
        "saved within a step, exit code 128 + the signal's number, the command to go on is printed",
    ),
    "ways to end": (
        "a parent that gets a signal, fails or is killed; output that can't be printed; an exception in or "
        "between updates",
        "children save and end; whatever left the state whole is saved, then told",
    ),
    "updates lost": (
        "each signal, a closed terminal, data that change, stdout on a full disk or without a reader, at "
        "random instants",
        "no update that was made is lost; what can't be printed ends no run",
    ),
    "ended parents": (
        "compare.py --jobs=2 gets a signal or is killed at random instants of its trainings",
        "both save and end, it waits for them, and the same command finishes the grid",
    ),
    "ended parents on Ray": (
        "compare.py --ray=local gets a signal or is killed at random instants of its trainings",
        "the same, of the workers of Ray, whose processes end with it",
    ),
    "outputs": (
        "every option that writes, at a file, a link, a device, a folder, ~ or nothing; folders of "
        "transformers, nanoGPT and others",
        "links and devices stay and get the text; what no program of ours made is not changed",
    ),
    "documents": (
        "files of documents in every format, packing, encoding and with rows of other shapes",
        "every document is read, or one line names what can't be; a mended file goes on",
    ),
    "texts": (
        "marks, ends of lines, blanks, control characters, other encodings, with char, byte and bpe",
        "the splits decode to the text, or one line names the place that is not UTF-8",
    ),
    "other JSON": (
        "JSON of another shape, or fields of another type or size, in any file of a run",
        "one line from train.py --resume, compare.py, sample.py and autopsy.py, exit code 2, no file changed",
    ),
    "disk full": (
        "the disk is full at a random byte of a save",
        "the checkpoint before is whole, one line, exit code 1",
    ),
    "damaged checkpoint": (
        "bits flipped, bytes overwritten, files cut, in every region of every file",
        "found by checksum, named; the one before is taken, never wrong weights",
    ),
    "pickles and paths": (
        "a pickle in the place of any file; names that lead out of a folder",
        "refused, not executed",
    ),
    "not finite": (
        "inf or NaN in the loss, the gradient or the weights at step k",
        "no update, no save; step, sequences and first bad layer are logged; exit code 3",
    ),
    "two processes": (
        "two processes on one run directory",
        "the second is refused while the first runs; the lock of a dead one is not in the way",
    ),
    "other data": (
        "data replaced, overwritten, cut or deleted under a run; ids beyond the vocabulary; another meta",
        "refused, with both hashes or the id and its position",
    ),
    "resume with changes": (
        "--resume with other settings or other data",
        "another model or other data: refused, all differences named; rate and length: allowed and logged",
    ),
    "command lines": (
        "command lines and config files as nobody should write them, generated",
        "exit code 2, every fault named at once, no traceback, no file made or changed",
    ),
    "data preparation": (
        "preparation killed at random instants; one line of 100 MB; links in a loop; a text that changes",
        "no half-made dataset is ever used",
    ),
    "download": (
        "time-out, 404, connection cut, a proxy's page, another file",
        "tried again, then one line that names --input; nothing half-written is kept",
    ),
    "out of memory": (
        "no memory left on the device",
        "one line with what to lower and by how much; the checkpoint before is whole; exit code 1",
    ),
    "soak": (
        "one process, as many updates, evaluations and saves as in a day",
        "memory, files and pace are flat",
    ),
    "no network": (
        "no network, no cache of GPT-2's merges",
        "char and byte work; gpt2 says what to do",
    ),
    "terminals and paths": (
        "40 columns, no terminal, closed output, NO_COLOR, blanks and Unicode in paths, no writable home",
        "works",
    ),
}


def torture(result: dict) -> str:
    """A row for each fault; one that has not been made yet gives its command."""
    rows = []
    for name, (fault, holds) in FAULTS.items():
        counts = {key: value for key, value in result.get(name, {}).items() if key not in FACTS}
        cell = "; ".join(f"{key}: {_plain(value)}" for key, value in counts.items())
        rows.append([fault, holds, cell or f'not measured yet: `python -m tests.torture --row "{name}"`'])
    dates = ", ".join(sorted({row["date"] for row in result.values()}))
    machines = "; ".join(sorted({row["machine"] for row in result.values()}))
    note = f"\n`python -m tests.torture`, {dates}, {machines}\n"
    return markdown(["fault", "must hold", "measured"], rows) + note


def _plain(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


TABLES = {"torture": Table(torture, ("torture",))}
