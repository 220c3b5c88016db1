"""Command lines and config files as nobody should write them, made by hypothesis."""

import contextlib
import io
import os
import sys
import time
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import autopsy
import compare
import sample
import train
from reslab.run import config as configure
from reslab.run.fields import settings as known_settings
from reslab.run.options import AutopsyConfig, CompareConfig, SampleConfig
from reslab.run.settings import TrainConfig

JUNK = st.text(max_size=20).filter(lambda text: "\0" not in text)
# Values that no setting of the type takes, by what is wrong with them.
BAD_INT = st.sampled_from(["x", "1.5", "", "None", "9" * 5000, "1e9", "[1]", "ä"])
BAD_FLOAT = st.sampled_from(["x", "", "None", "1,5", "--", "1e", "ä"])
BAD_BOOL = st.sampled_from(["maybe", "2", "", "yes please"])
OUT_OF_RANGE = {
    "n_layer": ["0", "-3", "1000000000"],
    "n_embd": ["0", "-1", "100000000"],
    "block_size": ["0", "-8", "100000000000"],
    "dropout": ["1", "-0.1", "nan", "inf"],
    "vocab_size": ["-1"],
    "residual": ["skip", "", "Pre", "pre,none"],
    "attn_residual": ["skip"],
    "norm_eps": ["-1", "nan", "0"],
    "head_dim": ["-1"],
    "n_inner": ["-2"],
    "rope_theta": ["0", "nan", "inf"],
    "residual_scale": ["nan", "inf"],
    "learning_rate": ["-1", "nan", "inf"],
    "min_lr": ["-1"],
    "beta1": ["1", "nan", "-0.1"],
    "beta2": ["2"],
    "adam_eps": ["-1"],
    "grad_clip": ["-1", "nan"],
    "weight_decay": ["inf"],
    "optimizer": ["adam", ""],
    "schedule": ["step"],
    "max_iters": ["-1"],
    "batch_size": ["0", "-2", "1000000000"],
    "gradient_accumulation_steps": ["0"],
    "eval_interval": ["0"],
    "eval_sequences": ["0", "1000000000"],
    "log_interval": ["-5"],
    "seed": ["-1", str(2**70)],
    "device": ["gpu", "cuda:x", "", "cpu:"],
    "dtype": ["int8", ""],
    "compile": ["maybe", ""],
    "kernels": ["mkl", ""],
    "grow_at": ["start"],
}
BAD_SAMPLE = {
    "top_p": ["0", "-1", "1.1", "nan"],
    "top_k": ["-1"],
    "temperature": ["-1", "inf", "nan"],
    "num_samples": ["0"],
    "max_new_tokens": ["-5"],
    "seed": ["-1", str(2**70)],
    "device": ["gpu"],
    "prompt": [""],
}
BAD_AUTOPSY = {"sequences": ["1", "-1"], "tokens": ["0"], "draws": ["0"]}
CONTRADICTIONS = [
    (["--n_embd=30", "--n_head=7"], "n_head"),
    (["--warmup_iters=50", "--max_iters=20"], "warmup_iters"),
]
FILES = st.one_of(
    st.binary(min_size=1, max_size=60).map(lambda data: b"\xff\xfe" + data),
    st.sampled_from(
        [
            b"n_layer = [1, 2]",
            b"n_layer = 'x'",
            b"nlayer = 3",
            b"1/0",
            b"import nothing_of_that_name",
            b"raise SystemExit(0)",
            b"def f(",
            "größe = 3".encode(),
            b"\0",
            b"x" * 2_000_000,
            b"n_layer = 10**9",
            b"n_embd = None",
            b"dropout = lambda: 3",
        ]
    ),
)


def fault(fields: dict, out_of_range: dict):
    """One setting that is wrong: its words, and what the message has to name."""
    kinds = {int: BAD_INT, float: BAD_FLOAT, bool: BAD_BOOL}
    typed = [key for key, kind in fields.items() if kind in kinds]
    unknown = st.sampled_from(sorted(fields)).map(lambda key: ([f"--{key}x=3"], f"{key}x"))
    wrong_type = st.sampled_from(typed).flatmap(
        lambda key: kinds[fields[key]].map(lambda value: ([f"--{key}={value}"], key))
    )
    wrong_value = st.sampled_from(sorted(out_of_range)).flatmap(
        lambda key: st.sampled_from(out_of_range[key]).map(lambda value: ([f"--{key}={value}"], key))
    )
    return st.one_of(unknown, wrong_type, wrong_value)


def once(faults: list) -> bool:
    """Whether no setting is given twice: the later word would win, and the earlier be no fault."""
    keys = [word.partition("=")[0] for args, _ in faults for word in args]
    return len(keys) == len(set(keys))


def command(door) -> st.SearchStrategy:
    """Words, a config file's bytes or None, and the names that the message must hold."""
    cls, bad = {
        train: (TrainConfig, OUT_OF_RANGE),
        compare: (CompareConfig, OUT_OF_RANGE),
        sample: (SampleConfig, BAD_SAMPLE),
        autopsy: (AutopsyConfig, BAD_AUTOPSY),
    }[door]
    one = fault({key: setting.kind for key, setting in known_settings(cls).items()}, bad)
    if door in (train, compare):
        one = st.one_of(one, st.sampled_from(CONTRADICTIONS))
    faults = st.lists(one, max_size=4).filter(once)
    junk = st.lists(JUNK.filter(lambda word: not word.startswith("-")), max_size=2)
    files = st.none() if door in (sample, autopsy) else st.none() | FILES
    return st.tuples(faults, junk, files).filter(lambda made: made[0] or made[1] or made[2])


def run(door, made, folder: Path) -> None:
    """Give a door a command line that can't be run, and see what it says and does."""
    faults, junk, file = made
    args = [word for part, _ in faults for word in part] + junk
    if file is not None:
        (folder / "made.py").write_bytes(file)
        args.insert(0, "made.py")
    elif door is compare:
        (folder / "made.py").write_bytes(b"n_layer = 2")
        args.insert(0, "made.py")
    elif door in (sample, autopsy) and not junk:
        args.insert(0, "nowhere")
    before = listing(folder)
    out, err = io.StringIO(), io.StringIO()
    began, code = time.perf_counter(), None
    argv = mock.patch.object(sys, "argv", ["door.py", *args])
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), argv:
        try:
            configure.run_door(door.main)
        except SystemExit as end:
            code = end.code
    message = err.getvalue()
    assert code == 2, (args, code, message)
    assert message.strip() and "Traceback" not in message, (args, message)
    assert len(message) < 20_000, (args, len(message))
    if not file and not (door is compare and junk):  # compare tells its own options' faults first
        for given_words, name in faults:
            huge = any("000000" in word for word in given_words)  # what is too much depends on other settings
            assert name in message or (huge and len(faults) > 1), (args, name, message)
    assert listing(folder) == before, (args, listing(folder))
    assert time.perf_counter() - began < 60


def listing(folder: Path) -> dict:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if "__pycache__" not in path.parts}


def bad_commands(folder: Path, count: int) -> dict:
    """count command lines, shared by the doors: one message, code 2, nothing made, all faults told."""
    counts, here = {}, Path.cwd()
    os.chdir(folder)
    try:
        shares = {train: 0.6, compare: 0.1, sample: 0.15, autopsy: 0.15}
        for door, share in shares.items():
            counts[f"{door.__name__}.py"] = _many(door, max(1, round(count * share)), folder)
    finally:
        os.chdir(here)
    return {"command lines": sum(counts.values())} | counts


def _many(door, count: int, folder: Path) -> int:
    commands_tried = []

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(command(door))
    def check(made):
        commands_tried.append(made)
        run(door, made, folder)

    check()
    return len(commands_tried)
