"""Files are written where their name leads, and nothing that is no regular file is replaced."""

import os
import stat
import threading
from pathlib import Path

import pytest

from reslab.run.config import told
from reslab.run.files import parse_json, read_input, write_atomically


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    target, link, link_to_link = tmp_path / "far" / "page", tmp_path / "link", tmp_path / "second"
    for before in ("old", None):  # None: it leads nowhere yet
        target.write_text(before) if before else target.unlink()
        for path in (link, link_to_link):
            path.unlink(missing_ok=True)
        link.symlink_to("far/page")
        link_to_link.symlink_to(link)
        write_atomically(link_to_link, "new")
        assert link.is_symlink() and link_to_link.is_symlink() and target.read_text() == "new"
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["far", "link", "page", "second"]


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_the_rights_of_a_file_stay(tmp_path):
    path = tmp_path / "page"
    path.write_text("old")
    path.chmod(0o604)
    write_atomically(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o604 and path.read_text() == "new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_and_a_device_are_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # open before it is written to: no race
    write_atomically(pipe, "through")
    assert os.read(reader, 100) == b"through" and stat.S_ISFIFO(pipe.stat().st_mode)
    os.close(reader)
    nothing = tmp_path / "nothing"
    nothing.symlink_to("/dev/null")
    write_atomically(nothing, "gone")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode) and nothing.is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_without_its_other_end_is_told_and_not_waited_for(tmp_path):
    pipe = tmp_path / "pi\npe"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match=r"pi\\npe: nobody reads from it; start its reader first"):
        write_atomically(pipe, "through")
    with pytest.raises(ValueError, match=r"pi\\npe: a pipe that nobody writes to; start its writer first"):
        read_input(pipe)
    writer = os.fdopen(os.open(pipe, os.O_RDWR), "w")  # open before the pipe is read: no race
    write = lambda: (writer.write("a\nb" * 50_000), writer.close())  # noqa: E731
    threading.Thread(target=write, daemon=True).start()
    assert read_input(pipe) == b"a\nb" * 50_000


def test_an_input_without_a_byte_is_told(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(ValueError, match="a: is empty"):
        read_input(tmp_path / "a")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_is_told_with_the_file(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError) as through:
        write_atomically(Path("/dev/full"), "text")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as replaced:
        write_atomically(tmp_path / "a", "text")
    places = "/dev/full", f"{tmp_path / 'a'}"
    assert [told(end.value) for end in (through, replaced)] == [
        f"{place}: No space left on device" for place in places
    ]


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "page" / "inside").mkdir(parents=True)
    with pytest.raises(OSError):
        write_atomically(tmp_path / "page", "new")
    assert (tmp_path / "page" / "inside").is_dir() and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "a list, must be an object"),
        ("null", "a NoneType"),
        ("{", "Expecting"),
        (b"\xff{}", "can't decode"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a": ' + "1" * 5000 + "}", "digits"),
    ],
)
def test_json_that_is_no_object_is_one_line_with_its_place(text, reason):
    with pytest.raises(ValueError, match=rf"^here/x.json: damaged \(.*{reason}.*\)$"):
        parse_json(text, "here/x.json")
