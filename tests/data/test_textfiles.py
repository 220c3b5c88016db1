"""Text of many shapes: how it enters, what is left out of a folder, and what is told of the rest."""

import json
import os
import shlex
from pathlib import Path

import pytest
from conftest import ROOT, run_python

from reslab.data import textfiles
from reslab.data.corpus import write_dataset
from reslab.data.dataset import find_folder
from reslab.data.prepare_cli import describe
from reslab.data.textfiles import find_files, read_file, read_files
from reslab.data.tokenizer import tokenizer_from_json

BOM = b"\xef\xbb\xbf"
SHAPES = {  # bytes of a file, and its text
    "empty": (b"", ""),
    "bom alone": (BOM, ""),
    "bom": (BOM + b"abc", "abc"),
    "two boms": (BOM + BOM + b"abc", "\ufeffabc"),
    "bom inside": (b"ab" + BOM + b"c", "ab\ufeffc"),
    "sequences": (b"a\r\nb\r\n", "a\nb\n"),
    "bom and sequences": (BOM + b"a\r\nb", "a\nb"),
    "old mac": (b"a\rb\r", "a\rb\r"),
    "mixed": (b"a\r\nb\nc\rd", "a\nb\nc\rd"),
    "two returns": (b"a\r\r\nb", "a\r\nb"),
    "return at the end": (b"abc\r", "abc\r"),
    "returns alone": (b"\r\r\r", "\r\r\r"),
    "newlines alone": (b"\r\n\r\n\r\n", "\n\n\n"),
    "two bytes": ("größer".encode(), "größer"),
    "three bytes": ("日本語".encode(), "日本語"),
    "four bytes": ("a😀b".encode(), "a😀b"),
    "joined": ("👩‍👩‍👧 e\u0301".encode(), "👩‍👩‍👧 e\u0301"),
    "right to left": ("שלום\r\n".encode(), "שלום\n"),
    "nul": (b"a\0b", "a\0b"),
    "other breaks": ("a\u2028b\x0cc\x85".encode(), "a\u2028b\x0cc\x85"),
    "blanks": (b"   \t  ", "   \t  "),
    "special word": (b"<|endoftext|>", "<|endoftext|>"),
}


@pytest.mark.parametrize("size", [1, 2, 3, 1 << 22])
@pytest.mark.parametrize("name", SHAPES)
def test_text_of_many_shapes(tmp_path, monkeypatch, name, size):
    """The same in pieces of any size: marks, line ends and characters lie across them."""
    monkeypatch.setattr(textfiles, "PIECE", size)
    (tmp_path / "a.txt").write_bytes(SHAPES[name][0])
    pieces = list(read_file(tmp_path / "a.txt"))
    assert "".join(pieces) == SHAPES[name][1] and "" not in pieces


WRONG = {
    "latin": (
        b"one\ntwo\ncaf\xe9 au lait",
        "line 3, byte 12: not UTF-8 text (byte 0xe9: ",
        "iconv -f LATIN1",
    ),
    "cut": (
        "größ".encode()[:-1],
        "line 1, byte 5: not UTF-8 text (byte 0xc3: unexpected end",
        "iconv -f LATIN1",
    ),
    "utf-16": ("word\n".encode("utf-16"), "line 1, byte 1: not UTF-8 text (byte 0xff: ", "iconv -f UTF-16"),
    "binary": (
        b"\x89PNG\r\n",
        "line 1, byte 1: not UTF-8 text (byte 0x89: ",
        "leave the file out, or convert",
    ),
    "surrogate": (b"a\n\xed\xa0\x80", "line 2, byte 3: not UTF-8 text (byte 0xed: ", "UTF-8 FILE > NEW_FILE"),
    "overlong": (b"a\r\n\xc0\x80", "line 2, byte 4: not UTF-8 text (byte 0xc0: ", "iconv"),
}


@pytest.mark.parametrize("size", [1, 5, 1 << 22])
@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_utf8_is_told_with_line_byte_and_remedy(tmp_path, monkeypatch, name, size):
    monkeypatch.setattr(textfiles, "PIECE", size)
    content, place, remedy = WRONG[name]
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError) as caught:
        list(read_file(tmp_path / "a.txt"))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'a.txt'}, {place}") and remedy in message, message
    assert len(message.splitlines()) == 1


def test_a_byte_order_mark_is_no_character_of_the_vocabulary(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_bytes(BOM + b"one\r\ntwo three" * 9)
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    meta = write_dataset(tmp_path / "out", lambda: read_files(files), "char", "x", quiet=True)
    assert meta["tokenizer"]["chars"] == "\n ehnortw"


@pytest.fixture
def project(tmp_path):
    """A folder as people have it: two files of text among much else."""
    root = tmp_path / "project"
    texts = {"notes.md": "notes\n", "src/main.PY": "print()\n"}
    others = {".git/HEAD.txt", ".venv/lib/a.py", "env/lib/site-packages/a.py", "node_modules/x/readme.md"}
    others |= {"src/__pycache__/a.txt", ".hidden.txt", "mine/lib/a.py", "picture.png", "Makefile"}
    for name in others | {"env/pyvenv.cfg", "mine/conda-meta/x.txt"}:
        texts[name] = "other\n"
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / "src" / "up").symlink_to(root)
    return root


def takes(name: str) -> bool:
    return name.lower().endswith((".md", ".txt", ".py"))


def test_a_project_gives_its_text_and_says_what_was_left_out(project):
    result = find_files([project], takes)
    assert [path.name for path in result.files] == ["notes.md", "main.PY"]
    assert str(result).startswith("reading 2 files, 14 bytes (.md, .py)\nleft out the folders ")
    for folder in (".git", ".venv", "env", "node_modules", "__pycache__", "mine", "up"):
        assert folder in str(result).splitlines()[1]
    assert "left out 2 files of other kinds (" in str(result) and ".png" in str(result)


def test_a_folder_that_is_named_is_read_whatever_it_is(project):
    result = find_files([project / ".venv", project / "notes.md", project], takes)
    assert [path.name for path in result.files] == ["a.py", "notes.md", "main.PY"]  # each of them once


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(ValueError, match=r"pipe\.txt: not a regular file; save it to one first"):
        find_files([tmp_path / "pipe.txt"], takes)
    assert not find_files([tmp_path], takes).files


def test_preparing_a_project_reads_its_text_alone(project, tmp_path):
    (project / "notes.md").write_text("notes of mine\r\n" * 9, encoding="utf-8", newline="")
    done = run_python(ROOT / "data/text/prepare.py", project, "--out", tmp_path / "out", "--suffix", "MD")
    meta = json.loads((tmp_path / "out" / "meta.json").read_text(encoding="utf-8"))
    assert sum(split["chars"] for split in meta["splits"].values()) == 9 * len("notes of mine\n")
    assert "reading 1 files" in done.stdout and "left out the folders" in done.stdout


def test_the_home_directory_is_found_in_every_path(tmp_path):
    (tmp_path / "in.txt").write_text("some text " * 9, encoding="utf-8")
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n' * 9 + '{"text": "c"}\n', encoding="utf-8")
    environment = os.environ | {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    run_python(ROOT / "data/text/prepare.py", "~/in.txt", "--out=~/a", "--quiet", env=environment)
    char = ROOT / "data/shakespeare_char/prepare.py"
    run_python(char, "--input=~/in.txt", "--out=~/b", "--quiet", env=environment)
    argv = ["--input", "~/in.jsonl", "--tokenizer=byte", "--val_share=0.5", "--out=~/c", "--quiet"]
    run_python(ROOT / "data/fineweb_edu/prepare.py", *argv, env=environment)
    assert all((tmp_path / name / "meta.json").exists() for name in "abc")


BLANKS = {"blanks": " " * 1_100_000, "blanks and newlines": " \n" * 550_000}


@pytest.mark.parametrize("name", BLANKS)
def test_a_long_run_of_blanks_is_text_like_any_other(tmp_path, name):
    """The regular expression of byte pairs gives up at a million blanks in a row."""
    text = "Some words come first. " * 9 + BLANKS[name] + " and some come last" * 9000
    meta = write_dataset(tmp_path, lambda: [text], "bpe:270", "x", quiet=True)
    tokenizer = tokenizer_from_json(meta["tokenizer"])
    assert tokenizer.decode_bytes(tokenizer.encode(BLANKS[name])) == BLANKS[name].encode()
    assert sum(split["chars"] for split in meta["splits"].values()) == len(text)


def test_a_text_that_can_not_be_encoded_is_not_said_to_have_changed(tmp_path):
    class Refusing:
        vocab_size, cut_anywhere = 9, False

        def encode(self, text):
            raise ValueError("no such word")

    with pytest.raises(ValueError, match=r"^a text: can't be encoded \(no such word\)$"):
        write_dataset(tmp_path, lambda: ["words " * 9], Refusing(), "a text", quiet=True)
    assert not list(tmp_path.iterdir())


def test_a_panic_of_the_trainer_is_a_line(monkeypatch):
    import rustbpe

    from reslab.data.tokenizer import train_bpe

    class PanicException(BaseException):
        pass

    class Trainer:
        def train_from_iterator(self, *argv, **options):
            raise PanicException("regex match failed")

    monkeypatch.setattr(rustbpe, "Tokenizer", Trainer)
    with pytest.raises(ValueError, match=r"bpe:300: can't be learned from this text \(regex match failed\)"):
        train_bpe(["text"], 300)


def test_merges_are_learned_from_the_training_split_alone(tmp_path):
    """Another validation split leaves the tokenizer as it is."""
    train, metas = "the cat sat on the mat and the rat " * 90, []
    for number, val in enumerate(("qqq zzz " * 45, "the cat " * 45)):
        text = train + val[:350]
        assert int(len(text) * 0.9) == len(train)
        metas.append(
            write_dataset(tmp_path / str(number), lambda text=text: [text], "bpe:290", "x", quiet=True)
        )
    assert metas[0]["tokenizer"] == metas[1]["tokenizer"]
    assert metas[0]["splits"]["train"] == metas[1]["splits"]["train"]
    assert metas[0]["splits"]["val"] != metas[1]["splits"]["val"]


@pytest.mark.parametrize("store", [None, "store", "data"])
@pytest.mark.parametrize("out", ["mine", "data/mine", "data/deeper/mine", "store/mine", "a b/mine"])
def test_what_a_summary_says_to_use_is_the_dataset(tmp_path, monkeypatch, store, out):
    """Wherever --out has put it, and wherever datasets are kept."""
    if store:
        monkeypatch.setenv("RESLAB_DATA", str(tmp_path / store))
    monkeypatch.chdir(tmp_path)
    meta = write_dataset(Path(out), lambda: ["some text " * 9], "char", "x", quiet=True)
    *_, option = shlex.split(describe(Path(out), meta))
    assert find_folder(option.removeprefix("--dataset=")).resolve() == tmp_path / out


def test_a_dataset_beside_the_command_is_pointed_at(tmp_path, monkeypatch):
    for place in ("mybook", "data/other"):
        write_dataset(tmp_path / place, lambda: ["some text " * 9], "char", "x", quiet=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"mybook is here, not in .*: give --dataset=\./mybook"):
        find_folder("mybook")
    with pytest.raises(ValueError, match=r"other is here, not in .*: give --dataset=data/other"):
        find_folder("other")
    assert find_folder("./mybook").is_dir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_folder("~/mybook") == tmp_path / "mybook"
    with pytest.raises(ValueError, match=r"dataset=yours: no such folder; known names are [^;]*$"):
        find_folder("yours")
