"""Every option that writes, at every kind of target: what was there and is not ours stays what it is."""

import contextlib
import io
import os
import stat
import sys
from pathlib import Path
from unittest import mock

import autopsy
import compare
import export
import train
from reslab.data.prepare_cli import arguments, run_prepare
from reslab.run import config as configure

from .restarts import SHAPE

TEXT = "a line of a text that is long enough\n" * 40
FILES = ["--page", "--json", "--csv", "--tex", "--curves"]


def run(main, argv: list) -> tuple[int, str]:
    """The exit code and stderr of a program in this process."""
    err = io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, "argv", ["door.py", *map(str, argv)]))
        stack.enter_context(contextlib.redirect_stderr(err))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        try:
            configure.run_door(main)
        except SystemExit as end:
            return end.code or 0, err.getvalue()


def one_fault(told: str) -> bool:
    return sum(line.startswith("error: ") for line in told.splitlines()) == 1 and "Traceback" not in told


def prepare(argv: list[str]) -> None:
    args = arguments("", Path()).parse_args(argv)
    run_prepare(args, lambda: [TEXT], "char", "a text")


def all_targets(dataset: Path, folder: Path) -> dict:
    """Files and folders: the cases, all of which hold."""
    trained = folder / "trained"
    settings = [*SHAPE.split(), f"--dataset={dataset}", "--max_iters=2"]
    assert run(train.main, [*settings, f"--out_dir={trained}"])[0] == 0
    writers = {
        option: (compare.main, lambda at, o=option: _table(trained, folder, o, at)) for option in FILES
    }
    writers["autopsy --json"] = (
        autopsy.main,
        lambda at: [trained, "--sequences=2", "--tokens=1", "--json", at],
    )
    files = 0
    for name, (main, argv) in writers.items():
        for kind in TARGETS:
            place = folder / f"file {files}"
            place.mkdir()
            TARGETS[kind](place, lambda at, m=main, a=argv: run(m, a(at)), f"{name} {kind}")
            files += 1
    makers = {
        "train --out_dir": (train.main, lambda at: [*settings, "--overwrite", f"--out_dir={at}"]),
        "export": (export.main, lambda at: [trained, at, "--overwrite"]),
        "prepare --out": (lambda argv: prepare(argv), lambda at: ["--out", str(at)]),
    }
    folders = 0
    for name, (main, argv) in makers.items():
        for kind, content in FOLDERS.items():
            place = folder / f"folder {folders}"
            _fill(place, content)
            before = _content(place)
            code, told = run(main, argv(place))
            # A dataset may be put beside files of other names.
            assert (code == 2 and one_fault(told)) or name.startswith("prepare"), (name, kind, code, told)
            assert _content(place).items() >= before.items(), (name, kind)
            folders += 1
    return {"options": len(writers) + len(makers), "files": files, "folders of others": folders, "changed": 0}


def _table(trained: Path, folder: Path, option: str, at: Path) -> list:
    page = [] if option == "--page" else ["--page", folder / "compare.html"]
    return [trained, *page, option, at]


def _nothing(place: Path, write, case: str) -> None:
    code, told = write(place / "new ü" / "file")  # a typo shall not make a folder
    assert code == 2 and "no folder" in told and one_fault(told) and not list(place.iterdir()), (case, told)
    code, told = write(place / "new ü")
    assert code == 0 and (place / "new ü").stat().st_size > 50, (case, told)


def _file(place: Path, write, case: str) -> None:
    (place / "file").write_text("old", encoding="utf-8")
    (place / "file").chmod(0o640)
    assert write(place / "file")[0] == 0 and (place / "file").stat().st_size > 50, case
    assert stat.S_IMODE((place / "file").stat().st_mode) == 0o640 and len(list(place.iterdir())) == 1, case


def _link(place: Path, write, case: str) -> None:
    (place / "target").write_text("old", encoding="utf-8")
    (place / "link").symlink_to("target")
    assert write(place / "link")[0] == 0 and (place / "link").is_symlink(), case
    assert (place / "target").stat().st_size > 50, case


def _dangling_link(place: Path, write, case: str) -> None:
    (place / "link").symlink_to(place / "target")
    assert write(place / "link")[0] == 0 and (place / "link").is_symlink(), case
    assert (place / "target").stat().st_size > 50, case


def _device(place: Path, write, case: str) -> None:
    """A device node of our own, where one may be made; else /dev/null, which root could replace."""
    node = place / "null"
    try:
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError:
        node.symlink_to("/dev/null")
    assert write(node)[0] == 0 and stat.S_ISCHR(node.stat().st_mode), case


def _folder(place: Path, write, case: str) -> None:
    (place / "folder").mkdir()
    (place / "folder" / "mine").touch()
    code, told = write(place / "folder")
    assert code == 2 and one_fault(told) and (place / "folder" / "mine").exists(), (case, told)


def _home(place: Path, write, case: str) -> None:
    with mock.patch.dict(os.environ, {"HOME": str(place)}):
        assert write(Path("~") / "file")[0] == 0 and (place / "file").stat().st_size > 50, case
    assert not Path("~").exists(), case


TARGETS = {
    "nothing": _nothing,
    "a file": _file,
    "a link": _link,
    "a link to nothing": _dangling_link,
    "a device": _device,
    "a folder": _folder,
    "home": _home,
}
# Folders of other programs.
FOLDERS = {
    "transformers": {"config.json": b'{"model_type": "gpt2"}', "model.safetensors": b"weights"},
    "nanoGPT": {"train.bin": b"\1\0" * 50, "val.bin": b"\1\0" * 50, "meta.pkl": b"x", "config.json": b"{}"},
    "of notes": {"config.json": b"[1]", "meta.json": b"[2]", "mine/notes.txt": b"notes"},
    "other metrics": {"metrics.jsonl": b"{}", "meta.json": b"{}", "config.json": b'{"config": 3}'},
}


def _fill(place: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)


def _content(place: Path) -> dict:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
