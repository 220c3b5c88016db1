"""--keep keeps checkpoints, and probes measured on them later are those that the run measured itself."""

import json
from pathlib import Path

import pytest
from conftest import rows

from reslab.instruments import probes
from reslab.instruments.probe import BLOCK, Probe
from reslab.report.facts import load
from reslab.report.pagedata import page_data
from reslab.run import checkpoint
from reslab.training import reprobe
from reslab.training.loop import train


@pytest.fixture
def kept(train_config):
    """A run of twelve updates that keeps every third state, and evaluates every fifth."""
    config = train_config(keep="every:3", probe_sequences=2)
    train(config)
    return config, Path(config.out_dir)


def test_every_nth_state_is_kept_and_nothing_else_changes(kept, train_config, tmp_path):
    config, folder = kept
    names = sorted(path.name for path in (folder / "checkpoint").iterdir())
    expected = [f"step-{n}" for n in (0, 3, 6, 9, 12)]
    assert [name for name in names if name.startswith("step-")] == sorted(expected)
    for number in (0, 3, 6, 9, 12):
        place = folder / "checkpoint" / f"step-{number}"
        assert checkpoint.damage(place) is None and checkpoint.load_state(place)["step"] == number
    last, copy = (folder / "checkpoint" / name / "model.safetensors" for name in ("last", "step-12"))
    assert last.samefile(copy)  # a hard link takes no room
    plain = train_config(probe_sequences=2, out_dir=str(tmp_path / "plain"))
    train(plain)
    assert rows(plain) == rows(config)
    assert not list((tmp_path / "plain" / "checkpoint").glob("step-*"))


def test_a_run_can_go_on_from_a_kept_state(kept, train_config, tmp_path):
    config, folder = kept
    expected = rows(config)
    for name in ("last", "last.previous"):
        checkpoint.remove(folder / "checkpoint" / name)
    checkpoint.copy(folder / "checkpoint" / "step-9", folder / "checkpoint" / "last")
    train(train_config(keep="every:3", probe_sequences=2, resume=True))
    assert rows(config) == expected


def test_measured_again_they_are_the_runs_own_and_a_new_probe_needs_no_training(kept, monkeypatch, capsys):
    config, folder = kept
    new = Probe(
        lambda part: [(float(layer + 1),) for layer in range(len(part.model.blocks))], "new", sites=BLOCK
    )
    monkeypatch.setitem(probes.PROBES, "new", new)
    before = (folder / "metrics.jsonl").read_bytes()
    assert reprobe.main([str(folder)]) == 0
    assert (folder / "metrics.jsonl").read_bytes() == before
    assert "checkpoints); python compare.py" in capsys.readouterr().out
    head, *later = [json.loads(line) for line in (folder / "probes.jsonl").read_text().splitlines()]
    own = {row["step"]: row for row in rows(config) if "probe/resid_rms" in row}
    assert [row["step"] for row in later] == sorted({0, 3, 6, 9, 12} | {row["step"] for row in later})
    compared = [row for row in later if row["step"] in own]
    assert {0, 3, 12} <= {row["step"] for row in compared}
    for row in compared:
        for name in set(probes.PROBES) - {"new"}:
            assert row[f"probe/{name}"] == pytest.approx(own[row["step"]][f"probe/{name}"], rel=1e-4), name
    run = load(folder)
    assert run.series("probe/new") == ([row["step"] for row in later], [[1.0, 2.0]] * len(later))
    assert run.status == "finished" and head["probes"]["new"]["label"] == "new"
    data = page_data([run], "title")
    assert data["probes"]["new"]["label"] == "new"
    drawn = dict(zip(data["runs"][0]["probes"]["steps"], data["runs"][0]["probes"]["values"], strict=True))
    assert all(drawn[row["step"]]["new"] == [1.0, 2.0] for row in later)
    first = own[0]["probe/resid_rms"]
    assert drawn[0]["resid_rms"] == pytest.approx(first, rel=1e-3)


def test_starting_again_forgets_them(kept, train_config):
    _, folder = kept
    reprobe.main([str(folder)])
    train(train_config(overwrite=True, max_iters=2))
    assert not (folder / "probes.jsonl").exists() and not (folder / "checkpoint" / "step-9").exists()


def test_what_can_not_be_measured_is_one_line(kept, tmp_path, train_config):
    _, folder = kept
    for place, message in [
        (tmp_path / "nowhere", "no such file or folder"),
        (folder / "checkpoint", "not a run"),
    ]:
        with pytest.raises(ValueError, match=message):
            reprobe.main([str(place)])
    config_file = folder / "config.json"
    content = config_file.read_text(encoding="utf-8")
    config_file.write_text('{"config": {"seed": 1}}', encoding="utf-8")
    with pytest.raises(ValueError, match="no value for dataset, block_size, probe_sequences; was it made by"):
        reprobe.main([str(folder)])
    config_file.write_text(content, encoding="utf-8")
    for text in ("every", "every:0", "every:-3", "all:3", "every:x"):
        assert any("keep" in fault and "every:N" in fault for fault in train_config(keep=text).faults())
    for text in (
        "",
        "{",
        "[]",
        "{}",
        '{"probes": 1}',
        '{"probes": {}}\n{"step": "x"}',
        '{"probes": {}}\n[1]',
    ):
        (folder / "probes.jsonl").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=r"^\S*probes.jsonl.*: damaged .*; delete it, or measure again$"):
            load(folder)
    checkpoint.remove(folder / "checkpoint")
    with pytest.raises(ValueError, match="no checkpoint here"):
        reprobe.main([str(folder)])
