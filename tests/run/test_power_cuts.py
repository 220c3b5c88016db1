"""Files reach the disk before their names do, and a cut between any two of these steps loses nothing."""
# ruff: noqa: F811  (fixtures are imported)

import os

import numpy as np
import pytest
from disk import PowerCut, disk  # noqa: F401
from test_checkpoint import saved

from reslab.data.corpus import write_dataset
from reslab.data.shards import ShardWriter
from reslab.run import checkpoint
from reslab.run.files import write_atomically
from reslab.run.log import RunLog

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows can't flush folders")


def test_a_checkpoint_is_on_the_disk_before_it_gets_its_name(tmp_path, disk):
    last = tmp_path / "last"
    named = []

    def watched(source, target):
        if target == last:
            assert {p.name for p in source.iterdir()} == {*checkpoint.RESUMED, checkpoint.SUMS}
            assert all(disk.holds(path) for path in source.iterdir())
            assert source.stat().st_ino in disk.flushed
            named.append(target)

    real = disk.rename
    disk.rename = lambda source, target: (real(source, target), watched(*disk.events[-1][1:]))
    for step in (1, 2):
        saved(last, step)
        assert disk.flushed_after_renames(tmp_path)
    checkpoint.copy(last, tmp_path / "best")
    assert disk.flushed_after_renames(tmp_path)
    assert len(named) == 2


@pytest.mark.parametrize("before", [1, 2])
def test_a_cut_at_any_moment_of_a_save_leaves_a_whole_checkpoint(tmp_path, disk, before):
    """The one that was there, or the new one; and the next save is as good as ever."""
    for moment in range(100):
        root = tmp_path / str(moment)
        last, best = root / "last", root / "best"
        for step in range(1, before + 1):
            saved(last, step)
        checkpoint.copy(last, best)
        disk.events.clear()
        disk.cut_at = moment
        try:
            saved(last, 7)
        except PowerCut:
            disk.cut_at = None
            taken = checkpoint.find(last)
            assert checkpoint.load_state(taken)["step"] in (before, 7)
            assert checkpoint.damage(best) is None and checkpoint.load_state(best)["step"] == before
            checkpoint.replace_damaged(last, taken)
            saved(last, 8)
            assert checkpoint.load_state(last)["step"] == 8 and checkpoint.damage(last) is None
        else:
            break
    assert moment >= 7  # four files, their folder, two names, the folder of all


def test_a_row_is_on_the_disk_before_a_checkpoint_counts_it(tmp_path, disk):
    log = RunLog(tmp_path)
    log.write({"step": 1})
    assert log.size() == (tmp_path / "metrics.jsonl").stat().st_size > 0
    assert disk.holds(tmp_path / "metrics.jsonl")
    log.close()


def test_a_dataset_is_on_the_disk_before_its_files_get_their_names(tmp_path, disk):
    """And of meta.json nothing stands there before all others have theirs."""
    real, named = disk.rename, []

    def watched(source, target):
        assert disk.holds(source)
        named.append(target.name)
        real(source, target)

    disk.rename = watched
    for text in ("a text of some words ", "another one "):
        write_dataset(tmp_path, lambda text=text: [text * 99], "char", "made up", quiet=True)
    assert named == ["train.bin", "val.bin", "meta.json"] * 2


def test_a_shard_is_on_the_disk_before_it_gets_its_name(tmp_path, disk):
    real, named = disk.rename, []

    def watched(source, target):
        real(source, target)
        assert disk.holds(disk.events[-1][1])
        named.append(disk.events[-1][2].name)

    disk.rename = watched
    writer = ShardWriter(tmp_path, "train", "uint16", 10)
    writer.write(np.arange(25))
    assert disk.flushed_after_renames(tmp_path)
    mark = writer.mark()
    assert disk.holds(tmp_path / "train-00002.bin.part") and mark["open_tokens"] == 5
    writer.finish()
    assert disk.flushed_after_renames(tmp_path)
    assert named == ["train-00000.bin", "train-00001.bin", "train-00002.bin"]


def test_a_text_file_is_on_the_disk_before_and_after_it_gets_its_name(tmp_path, disk):
    real, named = disk.rename, []

    def watched(source, target):
        assert disk.holds(source)
        named.append(target)
        real(source, target)

    disk.rename = watched
    for text in ("new", "longer than that"):
        write_atomically(tmp_path / "result.json", text)
        assert disk.flushed_after_renames(tmp_path)
    assert named == [tmp_path / "result.json"] * 2 and named[0].read_text(encoding="utf-8") == text
