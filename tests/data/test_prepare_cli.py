"""The prepare scripts as programs: faults in one line, folders of others, signals, names of any script."""

import json
import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, run_python

from reslab.data import corpus, documents
from reslab.data.corpus import write_dataset
from reslab.data.documents import Plan, prepare
from reslab.data.download import download
from reslab.data.source import Source
from reslab.run.children import Interrupted, on_ending_signals, raise_interrupted
from reslab.run.lock import exclusive_lock

TEXT = "a line of a text that is long enough\n" * 40


def content(folder) -> dict:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    rows = (json.dumps({"text": f"document {n} " * 30}) for n in range(400))
    (folder / "a.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (folder / "a.txt").write_text(TEXT, encoding="utf-8")
    return folder


SCRIPTS = {
    "text": lambda at: ["data/text/prepare.py", at / "a.txt"],
    "stdlib": lambda at: ["data/stdlib/prepare.py"],
    "shakespeare_char": lambda at: ["data/shakespeare_char/prepare.py", "--input", at / "a.txt"],
    "fineweb_edu": lambda at: ["data/fineweb_edu/prepare.py", "--input", at / "a.jsonl", "--tokenizer=byte"],
}
OTHERS = [script for script in SCRIPTS if script != "text"]
# What stands in a folder of another program: nanoGPT's, and files that only have our names.
FOREIGN = {
    "nanoGPT": {"train.bin": b"\1\0" * 50, "val.bin": b"\1\0" * 50, "meta.pkl": pickle.dumps({})},
    "another meta": {"meta.json": b'{"format": 7, "splits": 3}'},
    "a list": {"meta.json": b"[1, 2]"},
    "no JSON": {"meta.json": b"\xff\xfe"},
    "another progress": {"progress.json": b'{"epoch": 3}'},
    "a lock": {"lock": b"of my door"},
}


@pytest.mark.parametrize(
    ("script", "name"),
    [*(("text", name) for name in FOREIGN), *((script, "nanoGPT") for script in SCRIPTS if script != "text")],
)
def test_a_folder_of_another_program_is_left_alone(inputs, tmp_path, script, name):
    out = tmp_path / "out"
    out.mkdir()
    for file, data in FOREIGN[name].items():
        (out / file).write_bytes(data)
    flags = ["--if_missing"] if script == "text" else []
    flags += ["--overwrite"] if script == "fineweb_edu" else []
    told = run_python(*SCRIPTS[script](inputs), "--out", out, *flags, code=2).stderr
    assert len(told.splitlines()) == 1 and "choose another" in told
    assert content(out) == FOREIGN[name]


@pytest.mark.parametrize("name", FOREIGN)
def test_documents_replace_nothing_of_another_program(inputs, tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    for file, data in FOREIGN[name].items():
        (out / file).write_bytes(data)
    source = Source("", None, (inputs / "a.jsonl",))
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="choose another"):
            prepare(out, source, Plan("byte", val_share=0.2), overwrite, quiet=True)
    assert content(out) == FOREIGN[name]


def test_overwrite_deletes_what_we_wrote_and_nothing_else(inputs, tmp_path):
    source = Source("", None, (inputs / "a.jsonl",))
    prepare(tmp_path / "out", source, Plan("byte", val_share=0.2, shard_tokens=9000), quiet=True)
    other = {"notes.bin": b"mine", "train-backup.bin": b"mine", "meta.txt": b"mine"}
    for name, data in other.items():
        (tmp_path / "out" / name).write_bytes(data)
    prepare(tmp_path / "out", source, Plan("byte", val_share=0.2), True, quiet=True)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in other} == other
    assert len(list((tmp_path / "out").glob("train-0*.bin"))) == 1  # of many smaller ones


def test_a_text_is_not_prepared_over_shards(inputs, tmp_path):
    prepare(tmp_path, Source("", None, (inputs / "a.jsonl",)), Plan("byte", val_share=0.2), quiet=True)
    before = content(tmp_path)
    with pytest.raises(ValueError, match="holds shards of documents; choose another --out"):
        write_dataset(tmp_path, lambda: [TEXT], "char", "x", quiet=True)
    assert content(tmp_path) == before


def test_links_stay_and_lead_to_the_new_dataset(tmp_path):
    (tmp_path / "large disk").mkdir()
    (tmp_path / "out").mkdir()
    for name in ("train.bin", "meta.json"):
        (tmp_path / "out" / name).symlink_to(tmp_path / "large disk" / name)
    for tokenizer in ("char", "byte"):
        meta = write_dataset(tmp_path / "out", lambda: [TEXT], tokenizer, "x", quiet=True)
    assert (tmp_path / "out" / "train.bin").is_symlink() and (tmp_path / "out" / "meta.json").is_symlink()
    assert json.loads((tmp_path / "large disk" / "meta.json").read_text(encoding="utf-8")) == meta
    ids = np.fromfile(tmp_path / "large disk" / "train.bin", dtype=meta["dtype"])
    assert bytes(ids.tolist()).decode() == TEXT[: len(ids)]
    assert sorted(path.name for path in (tmp_path / "large disk").iterdir()) == ["meta.json", "train.bin"]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_preparation_that_ends_while_files_get_their_names_is_repaired_by_the_next(
    tmp_path, monkeypatch, at
):
    write_dataset(tmp_path, lambda: [TEXT], "char", "old", quiet=True)
    names, real = [], corpus._give_name

    def give_name(path):
        if len(names) == at:
            raise OSError("power cut")
        names.append(path)
        real(path)

    monkeypatch.setattr(corpus, "_give_name", give_name)
    with pytest.raises(OSError, match="power cut"):
        write_dataset(tmp_path, lambda: [TEXT * 2], "char", "new", quiet=True)
    assert not (tmp_path / "meta.json").exists()
    monkeypatch.undo()

    def broken_text():
        raise ValueError("no text")

    with pytest.raises(ValueError, match="no text"):  # this one leaves nothing that looks like a dataset
        write_dataset(tmp_path, broken_text, "char", "newer", quiet=True)
    assert not list(tmp_path.glob("*.bin")) and not list(tmp_path.glob("*.tmp"))
    write_dataset(tmp_path, lambda: [TEXT], "char", "newest", quiet=True)
    assert sorted(content(tmp_path)) == ["meta.json", "train.bin", "val.bin"]


FAULTS = {
    "an unknown option": (["data/text/prepare.py", "a", "--nope"], "unrecognized arguments: --nope"),
    "no path": (["data/text/prepare.py"], "the following arguments are required: PATH"),
    "a part of an option": (["data/stdlib/prepare.py", "--qui"], "unrecognized arguments: --qui"),
    "no number": (["data/openwebtext/prepare.py", "--max_tokens=inf"], "--max_tokens: inf is not a whole"),
    "no file": (["data/shakespeare_char/prepare.py", "--input=nope"], "nope: No such file or directory"),
    "a folder": (["data/shakespeare/prepare.py", "--input=tests"], "tests: Is a directory"),
    "a file as --out": (["data/stdlib/prepare.py", "--out=README.md"], "--out: README.md: is a file"),
    "lines in it": (["data/stdlib/prepare.py", "--a\nb\x1b"], "unrecognized arguments: --a\\nb\\x1b"),
    "budget": (["-m", "reslab.system.memory", "--n_layer=x"], "--n_layer: invalid int value: 'x'"),
    "budget of none": (["-m", "reslab.system.memory", "--ranks=0"], "all numbers must be at least 1"),
    "tables": (["-m", "experiments", "--chek"], "unrecognized arguments: --chek"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line(name):
    words, told = FAULTS[name]
    done = run_python(*words, code=2)
    assert done.stderr.startswith(f"error: {told}") and len(done.stderr.splitlines()) == 1
    assert not done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")  # noqa: PTH110
@pytest.mark.parametrize("streams", [">/dev/full", ">&-", ">/dev/full 2>&1", ">&- 2>&-", "| true"])
def test_a_print_that_fails_ends_no_preparation(inputs, tmp_path, streams):
    words = [sys.executable, "data/text/prepare.py", inputs / "a.txt", "--out", tmp_path / "out"]
    subprocess.run(f"{shlex.join(map(str, words))} {streams}", shell=True, cwd=ROOT, check=True)
    assert sorted(content(tmp_path / "out")) == ["meta.json", "train.bin", "val.bin"]


def test_more_tokens_than_were_asked_for_are_told(inputs, tmp_path):
    words = [*SCRIPTS["fineweb_edu"](inputs), "--out", tmp_path / "out", "--val_share=0.1", "--max_tokens"]
    for asked in (10_000, 1):  # the second time they are there already
        told = run_python(*words, asked).stdout
        counts = json.loads((tmp_path / "out" / "meta.json").read_text(encoding="utf-8"))["splits"].values()
        more = sum(split["tokens"] for split in counts) - asked
        assert more > 0 and f"these are {more:,} more than --max_tokens={asked:,}: documents are" in told


@pytest.mark.parametrize("size", ["99999999", "9" * 5000, "255", "-300", "1e3"])
def test_a_vocabulary_of_any_size_is_told_in_a_line(tmp_path, size):
    with pytest.raises(
        ValueError, match=r"^tokenizer=bpe:.*: allowed are .*from 256 to 1000000, and [^\n]*$"
    ):
        write_dataset(tmp_path / "out", lambda: [TEXT], f"bpe:{size}", "x", quiet=True)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
def test_names_that_the_terminal_has_no_characters_for(tmp_path, encoding):
    (tmp_path / "größe → \U0001f600.txt").write_text(TEXT, encoding="utf-8")
    words = ["data/text/prepare.py", tmp_path / "größe → \U0001f600.txt", "--out", tmp_path / "öut →"]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    assert (tmp_path / "öut →" / "meta.json").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2"])
def test_a_signal_in_the_middle_of_a_batch_loses_no_document(inputs, tmp_path, monkeypatch, name):
    source, plan = Source("", None, (inputs / "a.jsonl",)), Plan("byte", val_share=0.2, jobs=1)
    whole = prepare(tmp_path / "whole", source, plan, quiet=True)
    monkeypatch.setattr(documents, "BATCH_DOCUMENTS", 16)
    batches, real = [], documents._write

    def write(batch, writers, *rest):
        batches.append(len(batch))
        if len(batches) == 5:  # with the tokens of one split written, and not yet those of the other
            signal.raise_signal(getattr(signal, name))
        return real(batch, writers, *rest)

    monkeypatch.setattr(documents, "_write", write)
    with pytest.raises(Interrupted) as asked, on_ending_signals(raise_interrupted):
        prepare(tmp_path / "out", source, plan, quiet=True)
    assert asked.value.code == 128 + getattr(signal, name)
    progress = json.loads((tmp_path / "out" / "progress.json").read_text(encoding="utf-8"))
    assert progress["documents"] == 5 * 16
    monkeypatch.undo()
    assert prepare(tmp_path / "out", source, plan, quiet=True) == whole


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_signal_while_files_get_their_names_comes_afterwards(tmp_path, monkeypatch):
    real = corpus._give_name
    monkeypatch.setattr(corpus, "_give_name", lambda path: (signal.raise_signal(signal.SIGTERM), real(path)))
    with pytest.raises(Interrupted), on_ending_signals(raise_interrupted):
        write_dataset(tmp_path, lambda: [TEXT], "char", "x", quiet=True)
    assert sorted(content(tmp_path)) == ["meta.json", "train.bin", "val.bin"]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_script_that_is_stopped_says_so(inputs, tmp_path):
    (inputs / "more.txt").write_text("word and word, " * 2_000_000, encoding="utf-8")
    words = ["data/text/prepare.py", inputs, "--tokenizer=bpe:300", "--out", tmp_path / "out"]
    process = subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "out" / "lock").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 129 and told.splitlines()[-1].startswith("stopped; ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("script", sorted((ROOT / "data").glob("*/prepare.py")), ids=lambda p: p.parent.name)
def test_a_script_tells_which_package_is_not_installed(script):
    command = [sys.executable, "-S", str(script), "--help"]  # -S: without site-packages
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 2 and not done.stdout
    assert re.fullmatch(r"error: numpy: not installed for .*; run: .*\n", done.stderr)


def test_a_download_replaces_no_file_of_the_user(tmp_path):
    (tmp_path / "input.txt").write_text("my own text", encoding="utf-8")
    with pytest.raises(ValueError, match=r"give it with --input .*input\.txt, or move it away"):
        download("http://127.0.0.1:9/input.txt", tmp_path / "input.txt", "0" * 64)
    assert (tmp_path / "input.txt").read_text(encoding="utf-8") == "my own text"


@pytest.mark.parametrize("data", [b"", b"pid 1 on a host that is gone\n"])
def test_the_lock_of_a_dead_process_is_taken(tmp_path, data):
    (tmp_path / "lock").write_bytes(data)
    with exclusive_lock(tmp_path, "testing"):
        pass
    assert not (tmp_path / "lock").exists()
