"""Datasets: what is not whole, or not what it was, is refused by name."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch

from reslab.data.dataset import TokenDataset
from reslab.data.shards import TokenStream
from reslab.data.tokenfile import TokenFile
from reslab.training.loop import train
from reslab.training.step import train_step


@pytest.fixture
def here(dataset_folder, tmp_path):
    return shutil.copytree(dataset_folder, tmp_path / "data")


def change_meta(folder, change) -> None:
    path = folder / "meta.json"
    meta = json.loads(path.read_text(encoding="utf-8"))
    change(meta)
    path.write_text(json.dumps(meta), encoding="utf-8")


def write_signed(folder, ids: np.ndarray) -> None:
    """train.bin with the hash that meta.json wants, as another program might write it."""
    data = ids.astype(np.uint16).tobytes()
    (folder / "train.bin").write_bytes(data)
    change_meta(folder, lambda m: m["splits"]["train"].update(sha256=hashlib.sha256(data).hexdigest()))


def test_short_missing_and_unfinished_datasets_are_named(here, tmp_path):
    with pytest.raises(ValueError, match=r"val\.bin: [\d,]+ tokens; block_size=99999 needs at least 100,000"):
        TokenDataset(here, 99_999, 0)
    with pytest.raises(ValueError, match=r"no finished dataset"):
        TokenDataset(tmp_path, 8, 0)
    ids = (here / "train.bin").read_bytes()
    (here / "train.bin").write_bytes(ids[:-10])
    with pytest.raises(ValueError, match=r"its meta\.json says"):
        TokenDataset(here, 8, 0)
    (here / "train.bin").unlink()
    with pytest.raises(ValueError, match=r"train\.bin: missing"):
        TokenDataset(here, 8, 0)


def test_other_bytes_are_refused_with_both_hashes(here):
    ids = bytearray((here / "train.bin").read_bytes())
    ids[777] ^= 1
    (here / "train.bin").write_bytes(ids)
    with pytest.raises(ValueError, match=r"train\.bin: its sha256 is \w{64}, its meta\.json says \w{64}"):
        TokenDataset(here, 8, 0)


def test_an_id_beyond_the_vocabulary_is_told_with_its_position(here):
    ids = np.fromfile(here / "train.bin", dtype=np.uint16)
    ids[1234] = 65_535
    write_signed(here, ids)
    dataset = TokenDataset(here, 8, 0)
    dataset.sequences("train", np.array([1000, 1235]))
    with pytest.raises(ValueError, match=r"token id 65535 at position 1234 in a vocabulary of \d+"):
        dataset.sequences("train", np.array([1000, 1230]))


@pytest.mark.parametrize("how", ["cut", "overwritten", "replaced", "deleted"])
def test_a_file_that_changes_under_a_run_ends_it(here, train_config, how):
    """By the next batch, and never by SIGBUS or by other tokens."""
    path = here / "train.bin"

    def changing(state, *rest):
        if state.step == 7:
            other = np.fromfile(path, dtype=np.uint16)[::-1].tobytes()
            if how == "cut":
                with path.open("r+b") as file:
                    file.truncate(10)
            elif how == "overwritten":
                path.write_bytes(other)
            elif how == "replaced":
                (here / "new").write_bytes(other)
                (here / "new").replace(path)
            else:
                path.unlink()
        return train_step(state, *rest)

    reason = "it is gone" if how == "deleted" else r"its sha256 is \w{64}, its meta\.json says \w{64}"
    with pytest.raises(ValueError, match=rf"train\.bin: changed while a run reads it \({reason}\)"):
        train(train_config(dataset=str(here)), changing)


def test_a_file_that_changes_while_a_batch_is_read_gives_none(here):
    dataset = TokenDataset(here, 8, seed=1)

    class Changing:
        def __getitem__(self, place):
            (here / "train.bin").write_bytes((here / "train.bin").read_bytes()[::-1])
            return ids[place]

    ids, dataset.ids["train"] = dataset.ids["train"], Changing()
    with pytest.raises(ValueError, match="changed while a run reads it"):
        dataset.sequences("train", np.array([3]))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("vocab_size"),
        lambda m: m.update(vocab_size="many"),
        lambda m: m.update(vocab_size=3),
        lambda m: m.update(splits=[]),
        lambda m: m["splits"]["val"].update(tokens=-1),
        lambda m: m["splits"]["train"].pop("sha256"),
        lambda m: m.update(dtype="object"),
        lambda m: m.update(tokenizer={"kind": "char"}),
        lambda m: m.update(tokenizer=7),
        lambda m: m.update(tokenizer={"kind": "bpe", "name": "x", "pattern": "(", "tokens": ["YQ=="]}),
    ],
)
def test_a_meta_of_another_shape_is_refused(here, change):
    change_meta(here, change)
    with pytest.raises(ValueError, match=r"meta\.json"):
        TokenDataset(here, 8, 0)


@pytest.mark.parametrize("name", ["../train.bin", "/etc/passwd", "..", "", "a/../../train.bin"])
def test_names_that_lead_out_of_the_folder_are_refused(here, name):
    with pytest.raises(ValueError, match="which is not a file of that folder"):
        TokenFile(here, name, "uint16", 3, "0" * 64)


@pytest.mark.parametrize("text", ["{", "[]", "3", "\udc80"])
def test_a_meta_that_is_none_is_refused(here, text):
    (here / "meta.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"meta\.json: damaged"):
        TokenDataset(here, 8, 0)


def test_a_stream_is_its_shards_end_to_end():
    ids = np.arange(23)
    stream = TokenStream(np.split(ids, [5, 6, 13]))
    assert len(stream) == 23
    for start in range(24):
        for stop in range(24):
            assert (stream[start:stop] == ids[start:stop]).all()
    assert np.shares_memory(stream[7:12], ids) and len(stream[5:4]) == 0


def test_a_pickle_as_meta_is_not_run(here, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save(Evil(), here / "meta.json")
    with pytest.raises(ValueError, match=r"meta\.json: damaged"):
        TokenDataset(here, 8, 0)
    assert not (tmp_path / "owned").exists()
