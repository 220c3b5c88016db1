"""Batches: which tokens a run sees, read off a text whose every token is its own position."""

import hashlib
import json

import numpy as np
import pytest

from reslab.data.corpus import write_dataset
from reslab.data.dataset import TokenDataset, open_dataset

BLOCK = 8


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """300 different characters, so that a token's id is its place in the text; val are the last 30."""
    folder = tmp_path_factory.mktemp("places")
    write_dataset(folder, lambda: ["".join(map(chr, range(0x100, 0x22C)))], "char", "places", quiet=True)
    return folder


LIMITS = {"train": (0, 270), "val": (270, 300)}


@pytest.mark.parametrize("split", LIMITS)
def test_targets_are_the_next_tokens_and_all_of_the_split_and_nothing_else_is_drawn(places, split):
    dataset = TokenDataset(places, BLOCK, 1)
    first, end = LIMITS[split]
    starts = []
    for step in range(300):
        inputs, targets = dataset.batch(split, step, 16)
        assert inputs.shape == targets.shape == (16, BLOCK)
        assert (targets == inputs + 1).all() and (inputs[:, 1:] == inputs[:, :-1] + 1).all()
        starts += inputs[:, 0].tolist()
    assert set(starts) == set(range(first, end - BLOCK))  # the last target is the split's last token
    counts = np.bincount(np.array(starts) - first)
    assert counts.min() > counts.mean() / 4 and counts.max() < counts.mean() * 4


def test_batches_depend_on_seed_split_and_step_alone(places):
    one, other = TokenDataset(places, BLOCK, 1), TokenDataset(places, BLOCK, 1)
    expected = one.batch("train", 7, 4)
    other.batch("val", 7, 4), other.batch("train", 6, 4), other.sequences("val", other.eval_starts("val", 3))
    assert all(a.equal(b) for a, b in zip(expected, other.batch("train", 7, 4), strict=True))
    longer = other.batch("train", 7, 9)
    assert all(a.equal(b[:4]) for a, b in zip(expected, longer, strict=True))
    for part in (slice(0, 3), slice(3, 6), slice(6, 9)):
        assert all(a.equal(b[part]) for a, b in zip(other.batch("train", 7, 9, part), longer, strict=True))


def test_no_two_of_seed_split_and_step_draw_alike(places):
    drawn = {}
    for seed in range(6):
        dataset = TokenDataset(places, BLOCK, seed)
        for step in range(6):
            for split, (first, end) in LIMITS.items():
                share = (dataset.batch(split, step, 64)[0][:, 0].numpy() - first) / (end - first - BLOCK)
                drawn[seed, split, step] = share  # comparable between splits of different length
    alike = np.corrcoef(np.stack(list(drawn.values()))) - np.eye(len(drawn))
    assert np.abs(alike).max() < 0.7


def test_evaluations_read_the_same_sequences_from_end_to_end(places):
    for split, (first, end) in LIMITS.items():
        dataset = TokenDataset(places, BLOCK, 1)
        for count in (1, 2, 3):
            starts = dataset.eval_starts(split, count)
            assert (starts == TokenDataset(places, BLOCK, 2).eval_starts(split, count)).all()
            inputs, targets = dataset.sequences(split, starts)
            assert len(starts) == count and inputs[0, 0] == first
            assert count == 1 or targets[-1, -1] == end - 1
            assert (np.diff(starts) >= BLOCK).all()
        everything = dataset.eval_starts(split, 10_000)
        assert everything.tolist() == list(range(end - first - BLOCK))  # each once


def test_a_split_of_one_sequence_is_enough_and_one_token_less_is_not(places):
    dataset = TokenDataset(places, 29, 1)
    inputs, targets = dataset.batch("val", 0, 2)
    assert inputs[:, 0].tolist() == [270, 270] and targets[:, -1].tolist() == [299, 299]
    assert dataset.eval_starts("val", 5).tolist() == [0]
    with pytest.raises(ValueError, match=r"val\.bin: 30 tokens; block_size=30 needs at least 31"):
        TokenDataset(places, 30, 1)


def test_the_first_id_beyond_the_vocabulary_is_refused(places, tmp_path):
    for name in ("train.bin", "val.bin", "meta.json"):
        (tmp_path / name).write_bytes((places / name).read_bytes())
    ids = np.fromfile(tmp_path / "train.bin", dtype=np.uint16)
    ids[20] = 300
    (tmp_path / "train.bin").write_bytes(ids.tobytes())
    meta = json.loads((tmp_path / "meta.json").read_text(encoding="utf-8"))
    meta["splits"]["train"]["sha256"] = hashlib.sha256(ids.tobytes()).hexdigest()
    (tmp_path / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    dataset = TokenDataset(tmp_path, BLOCK, 0)
    dataset.sequences("train", np.array([11, 21]))
    for start in (12, 16, 20):  # as the last target, inside, as the first input
        with pytest.raises(ValueError, match=r"token id 300 at position 20 in a vocabulary of 300"):
            dataset.sequences("train", np.array([100, start]))


def test_ids_of_four_bytes_are_read_as_such(tmp_path):
    text = "".join(chr(0x10000 + i) for i in range(70_000))
    write_dataset(tmp_path, lambda: [text], "char", "large", quiet=True)
    inputs, targets = TokenDataset(tmp_path, 2, 0).sequences("val", np.array([0, 6997]))
    assert inputs.tolist() == [[63_000, 63_001], [69_997, 69_998]] and targets[-1, -1] == 69_999


def test_baselines_count_train_and_are_read_on_the_sequences_of_the_losses(dataset_folder):
    """By hand: the unigram's surprise at each target of each sequence."""
    dataset = TokenDataset(dataset_folder, 16, 1)
    counts = np.bincount(dataset.ids["train"], minlength=dataset.vocab_size) + 1
    for split in ("train", "val"):
        _, targets = dataset.sequences(split, dataset.eval_starts(split, 5))
        expected = -np.log(counts / counts.sum())[targets.numpy()].mean()
        assert dataset.baselines(5)["unigram"][split] == pytest.approx(expected)
    assert dataset.baselines(500)["bigram"]["val"] == pytest.approx(
        dataset.meta["baselines_nats"]["bigram"]["val"], rel=0.05
    )


def test_a_dataset_is_found_by_its_path(places):
    assert open_dataset(str(places), BLOCK, 3).seed == 3
    for name in ("nowhere", "", "./nowhere"):
        with pytest.raises(ValueError, match=rf"dataset={name}: no such folder; known names are .*stdlib"):
            open_dataset(name, BLOCK, 0)
