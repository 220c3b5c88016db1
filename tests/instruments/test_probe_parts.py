"""Probes of a batch in parts, of one sequence or of several: the same numbers, and what fits."""

import pytest
import torch
from conftest import tiny_model
from test_probes import IDS, TARGETS

from reslab.instruments import probes
from reslab.instruments.anatomy import anatomy_of
from reslab.instruments.probe import Probe
from reslab.instruments.probes import PROBES
from reslab.instruments.snapshot import KEPT, ROOM, at_once, snapshot
from reslab.residual import WIRINGS


@pytest.fixture(autouse=True)
def only_ours(monkeypatch):
    """Without probes that somebody has added to the file."""
    ours = {name: probe for name, probe in PROBES.items() if probe.takes_several}
    monkeypatch.setattr(probes, "PROBES", ours)


def parts_seen(monkeypatch) -> list[int]:
    """Fills with the sequences of each part that is looked at."""
    seen, usual = [], snapshot
    monkeypatch.setattr(
        probes, "snapshot", lambda model, x, *rest: seen.append(len(x)) or usual(model, x, *rest)
    )
    return seen


@pytest.mark.parametrize("wiring", WIRINGS)
def test_sequences_looked_at_together_give_what_each_alone_gives(wiring, monkeypatch):
    """As a GPU looks at them, in parts that have room."""
    model, rows, seen = tiny_model(residual=wiring), [], parts_seen(monkeypatch)
    one = 4 * 8 * (KEPT * 16 * 3 + 16 // 4 * 8 + 4 * 19)
    for room in (0, int(3.9 * one), 1 << 30):
        monkeypatch.setitem(ROOM, "cpu", room)
        rows.append(probes.measure_batch(model, IDS, TARGETS))
    assert seen == [1, 1, 1, 1, 2, 2, 4]  # 3 would leave one alone, which then weighed more
    for row in rows[1:]:
        for key, value in rows[0].items():
            assert row[key] == value or row[key] == pytest.approx(value, rel=1e-9, abs=1e-12), key


def test_a_probe_of_ones_own_reads_one_sequence(monkeypatch):
    """The largest of several is no mean of theirs."""
    monkeypatch.setitem(ROOM, "cpu", 1 << 30)
    one = Probe(lambda part: part.resid[0].shape[0], "")
    monkeypatch.setattr(probes, "PROBES", probes.PROBES | {"one": one})
    assert probes.measure_batch(tiny_model(), IDS, TARGETS)["probe/one"] == 1


def test_where_several_sequences_do_not_fit_they_are_looked_at_alone(monkeypatch):
    model, alone = tiny_model(), probes.measure_batch(tiny_model(), IDS, TARGETS)
    monkeypatch.setitem(ROOM, "cpu", 1 << 30)
    seen, usual = parts_seen(monkeypatch), probes.at_once
    looked = probes.snapshot

    def full(model, x, *rest):
        part = looked(model, x, *rest)
        if len(x) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return part

    monkeypatch.setattr(probes, "snapshot", full)
    row = probes.measure_batch(model, IDS, TARGETS)
    assert usual(anatomy_of(model), IDS) == 4 and seen == [4, 1, 1, 1, 1] and row == alone


def test_no_other_fault_is_tried_again(monkeypatch):
    monkeypatch.setitem(ROOM, "cpu", 1 << 30)
    seen = parts_seen(monkeypatch)
    monkeypatch.setattr(probes, "_measure", lambda parts, count: [*parts, 1 / 0])
    with pytest.raises(ZeroDivisionError):
        probes.measure_batch(tiny_model(), IDS, TARGETS)
    assert seen == [4]


@pytest.mark.parametrize(
    ("changes", "T", "numbers"),
    [
        ({}, 8, KEPT * 16 * 3 + 4 * 8 + 4 * 64),  # the rows of W1
        ({"vocab_size": 5000}, 8, KEPT * 16 * 3 + 4 * 8 + 4 * 5000),
        ({"block_size": 600}, 600, KEPT * 16 * 3 + 4 * 600 + 4 * 600),
    ],
)
def test_the_room_is_of_activations_scores_and_logits(monkeypatch, changes, T, numbers):
    anatomy, idx = anatomy_of(tiny_model(**changes)), torch.zeros(6, T, dtype=torch.long)
    for room, expected in ((3, 3), (2.99, 2), (5, 3), (6, 6), (0.5, 1)):
        monkeypatch.setitem(ROOM, "cpu", room * 4 * T * numbers)
        assert at_once(anatomy, idx) == expected


def test_frozen_queries_and_keys_have_no_gradient_and_are_no_fault():
    model = tiny_model()
    for block in model.blocks:
        block.attn.c_attn.weight.requires_grad_(False)
    row = probes.measure_batch(model, IDS, TARGETS)
    assert row["probe/qk_gradient"] == [None] * 3 and None not in row["probe/o_gradient"]
