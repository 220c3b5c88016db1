"""Checkpoints: whole or found not to be, and nothing in them is run."""

import hashlib
import json
import random
from pathlib import Path

import pytest
import torch
from conftest import tiny_config

from reslab.model import GPT
from reslab.run import checkpoint
from reslab.run.config import MachineError
from reslab.run.settings import OptimConfig
from reslab.training.load import load
from reslab.training.optimizer import make_optimizer


def saved(folder: Path, step: int, seed: int = 0) -> GPT:
    model = GPT(tiny_config(), seed)
    optimizer = {"optimizer": make_optimizer(model, OptimConfig()).state_dict(), "scaler": {}}
    checkpoint.save(folder, model, optimizer, {"step": step})
    return model


def sign(folder: Path) -> None:
    """Checksums of what is there, as somebody who means harm would write them."""
    names = checkpoint.RESUMED
    lines = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "adagrad", "muon"])
def test_an_optimizer_comes_back_as_it_went(tmp_path, optimizer):
    model = GPT(tiny_config())
    config = OptimConfig(optimizer=optimizer)
    used = make_optimizer(model, config)
    for _ in range(2):
        ids = torch.randint(19, (2, 8))
        model.loss(ids, ids).backward()
        used.step()
    scaler = {"scale": 65536.0, "growth_interval": 2000, "_growth_tracker": 1}
    checkpoint.save(tmp_path / "c", model, {"optimizer": used.state_dict(), "scaler": scaler}, {})
    loaded = checkpoint.load_optimizer(tmp_path / "c")
    assert loaded["scaler"] == scaler
    fresh = make_optimizer(model, config)
    fresh.load_state_dict(loaded["optimizer"])
    expected, taken = ({}, {}), ({}, {})
    for optimizer_, (tensors, rest) in ((used, expected), (fresh, taken)):
        rest["rest"] = json.dumps(checkpoint._take_apart(optimizer_.state_dict(), "", tensors))
    assert expected[1] == taken[1] and expected[0].keys() == taken[0].keys()
    assert all(torch.equal(expected[0][name], taken[0][name]) for name in expected[0])


def test_a_save_cut_between_its_two_renames_is_found(tmp_path):
    last = tmp_path / "last"
    saved(last, 1)
    last.rename(tmp_path / "last.previous")
    (tmp_path / "last.tmp" / "shards").mkdir(parents=True)
    (tmp_path / "last.tmp" / "shards" / "of-another-process.safetensors").write_bytes(b"a part")
    assert checkpoint.load_state(checkpoint.find(last))["step"] == 1
    saved(last, 2), saved(last, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last", "last.previous"]
    for folder in tmp_path.iterdir():
        assert {p.name for p in folder.iterdir()} == {*checkpoint.RESUMED, checkpoint.SUMS}
    assert [checkpoint.load_state(last.with_name(n))["step"] for n in ("last", "last.previous")] == [3, 2]


def test_any_damage_is_found_named_and_stepped_over(tmp_path, capsys):
    """A flip or a cut anywhere in any file; where there is no other checkpoint, none is loaded."""
    last, draw = tmp_path / "last", random.Random(0)
    saved(last, 1, seed=1)
    alone = dict.fromkeys(checkpoint.damage(last, (name,)) for name in checkpoint.RESUMED)
    assert list(alone) == [None]
    saved(last, 2, seed=2)
    for name in (*checkpoint.RESUMED, checkpoint.SUMS):
        content = (last / name).read_bytes()
        for place in [0, len(content) - 1, *(draw.randrange(len(content)) for _ in range(6))]:
            flipped = (
                content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]
            )
            for broken in (flipped, content[:place]):
                (last / name).write_bytes(broken)
                taken = checkpoint.find(last)
                stderr = capsys.readouterr().err
                assert taken == tmp_path / "last.previous", (name, place)
                assert "damaged (" in stderr and str(last) in stderr and f"taking {taken} instead" in stderr
        (last / name).unlink()
        assert checkpoint.find(last) == tmp_path / "last.previous"
        (last / name).write_bytes(content)
    assert checkpoint.find(last) == last
    for folder in (last, tmp_path / "last.previous"):
        (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"last/model\.safetensors: damaged .*\n.*last\.previous/model\."):
        checkpoint.find(last)


def test_going_on_from_the_one_before_keeps_it(tmp_path):
    last = tmp_path / "last"
    saved(last, 1), saved(last, 2)
    (last / "state.json").write_text("{")
    checkpoint.replace_damaged(last, checkpoint.find(last))
    assert checkpoint.find(last) == last and checkpoint.load_state(last)["step"] == 1
    saved(last, 3)
    assert checkpoint.load_state(tmp_path / "last.previous")["step"] == 1
    assert (tmp_path / "last.damaged").is_dir()


def test_loading_runs_no_code(tmp_path):
    """A pickle in the place of any file, with the right checksum."""

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    folder = tmp_path / "c"
    for name in checkpoint.RESUMED:
        model = saved(folder, 1)
        torch.save({"optimizer": Evil()}, folder / name)
        sign(folder)
        with pytest.raises(ValueError, match=rf"{name}: (can't be loaded|damaged)"):
            checkpoint.load_state(folder)
            checkpoint.load_model(folder, model)
            checkpoint.load_optimizer(folder)
        with pytest.raises(ValueError):
            load(folder)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("state", [{}, [], {"config": 3}, {"config": {"vocab_size": "x"}}, {"config": {}}])
def test_a_state_of_another_shape_is_refused(tmp_path, state):
    saved(tmp_path / "c", 1)
    (tmp_path / "c" / "state.json").write_text(json.dumps(state))
    sign(tmp_path / "c")
    with pytest.raises(ValueError):
        load(tmp_path / "c")


def test_names_in_the_checksums_lead_nowhere(tmp_path):
    """Only our own file names are looked up, whatever the list says."""
    saved(tmp_path / "c", 1)
    sums = (tmp_path / "c" / "SHA256SUMS").read_text().replace("state.json", "../../state.json")
    (tmp_path / "c" / "SHA256SUMS").write_text(sums)
    assert "no checksum of state.json" in checkpoint.damage(tmp_path / "c")


def test_a_disk_that_is_full_keeps_the_checkpoint_before(tmp_path):
    """The system refuses files beyond a few kilobytes, as it does when a quota is used up."""
    resource = pytest.importorskip("resource")
    saved(tmp_path / "last", 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9999, before[1]))
    try:
        with pytest.raises(MachineError, match=r"last: can't be saved \(.*; what was saved before is whole"):
            saved(tmp_path / "last", 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == ["last"]
    assert checkpoint.load_state(checkpoint.find(tmp_path / "last"))["step"] == 1


def test_a_folder_that_can_not_be_written_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    saved(tmp_path / "last", 1)

    def refuse(*args, **more):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(MachineError, match=r"last: can't be saved \(Read-only file system\)"):
        saved(tmp_path / "last", 2)
    assert checkpoint.load_state(checkpoint.find(tmp_path / "last"))["step"] == 1
