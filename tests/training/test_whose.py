"""Whose folders are cleared, which weights are taken, and weights that are none."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import export
import sample
from reslab.run import checkpoint
from reslab.run.files import sha256
from reslab.training.init_from import read_settings
from reslab.training.load import load
from reslab.training.loop import train
from reslab.training.rundir import check_out_dir


@pytest.mark.parametrize("config", ['{"model_type": "gpt2", "n_layer": 2}', "[]", '{"config": {"a": 1}}'])
def test_a_folder_of_another_program_is_not_overwritten(train_config, config):
    wanted = train_config(overwrite=True)
    folder = Path(wanted.out_dir)
    (folder / "checkpoint").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "checkpoint/mine"):
        (folder / name).write_text(config, encoding="utf-8")
    with pytest.raises(ValueError, match="exists and is not a run directory"):
        check_out_dir(wanted)
    with pytest.raises(ValueError, match="exists and is not a run directory"):
        train(wanted)
    assert all((folder / n).read_text() == config for n in ("config.json", "checkpoint/mine"))


def test_overwrite_takes_our_checkpoints_and_leaves_what_lies_beside_them(train_config, tmp_path):
    config = train_config(max_iters=2)
    folder, far = Path(config.out_dir), tmp_path / "another disk"
    train(config)
    shutil.move(folder / "checkpoint", far)
    (folder / "checkpoint").symlink_to(far)
    (far / "notes").write_text("mine")
    assert train(replace(config, overwrite=True)) == 0
    assert (folder / "checkpoint").is_symlink() and (far / "notes").read_text() == "mine"
    assert checkpoint.load_state(far / "last")["step"] == 2


def test_an_export_replaces_only_what_an_export_wrote(train_config, tmp_path):
    pytest.importorskip("transformers")
    train(train_config(max_iters=1))
    run, out = str(tmp_path / "run"), tmp_path / "out"
    assert export.main([run, str(out)]) == 0
    (out / "README.md").write_text("mine")
    with pytest.raises(ValueError, match=r"holds README\.md, not written by export\.py; choose another DIR"):
        export.main([run, str(out), "--overwrite"])
    (out / "README.md").unlink()
    (tmp_path / "link").symlink_to(out)
    assert export.main([run, str(tmp_path / "link"), "--overwrite"]) == 0 and (tmp_path / "link").is_symlink()
    (out / export.RECORD).unlink()  # then it may be anybody's
    with pytest.raises(ValueError, match=r"holds no model that export\.py wrote"):
        export.main([run, str(out), "--overwrite"])


def test_the_weights_that_are_used_are_told_and_chosen(train_config, tmp_path, capsys):
    config = train_config(max_iters=4, eval_interval=2, learning_rate=3.0, min_lr=3.0)  # it only gets worse
    assert train(config) in (0, 3)
    run = tmp_path / "run"
    for name in ("best", "last"):  # whoever writes text needs no optimizer
        (run / "checkpoint" / name / "optimizer.safetensors").unlink()
    *_, best = load(run)
    told = capsys.readouterr().err
    *_, last = load(run, weights="last")
    assert (best["step"], last["step"]) == (0, 4)
    assert "best, step 0, val loss " in told and "went on to step 4, val loss " in told
    assert "--weights=last takes those" in told
    assert "last, step 4, val loss " in capsys.readouterr().err
    text = tmp_path / "text"
    text.write_bytes(b"\xef\xbb\xbfdef ")
    assert sample.main([str(run), "--weights=last", f"--prompt=FILE:{text}", "--max_new_tokens=2"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("def ") and "last, step 4" in err


def test_weights_that_are_not_finite_start_no_run(train_config, tmp_path):
    train(train_config(max_iters=1))
    last = tmp_path / "run" / "checkpoint" / "last"
    weights = load_file(last / "model.safetensors")
    weights["ln_f.weight"][3] = float("nan")
    save_file(weights, last / "model.safetensors")
    sums = [f"{sha256(last / name)}  {name}\n" for name in checkpoint.RESUMED]
    (last / "SHA256SUMS").write_text("".join(sums))
    with pytest.raises(ValueError, match=r"^init_from=.*: ln_f\.weight has values that are not finite; give"):
        train(train_config(init_from=str(tmp_path / "run"), out_dir=str(tmp_path / "new")))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("saved", "fault"),
    [
        (b"", "an empty file"),
        (b"text", "a text file, and no weights"),
        ({"model": {}}, "not a checkpoint of nanoGPT, which holds model and model_args"),
        ({"model": {}, "model_args": {"n_layer": "2"}}, "not a checkpoint of nanoGPT: no whole number for"),
        ({"model": 3, "model_args": []}, "not a checkpoint of nanoGPT"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_one_line(tmp_path, saved, fault):
    path = tmp_path / "ckpt.pt"
    if isinstance(saved, bytes):
        path.write_bytes(saved)
    else:
        torch.save(saved, path)
    with pytest.raises(ValueError, match=f"^init_from=.*ckpt.pt: {fault}") as error:
        read_settings(str(path))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("updates", [1, 3, 5])
def test_a_profile_of_few_updates_ends_well(train_config, tmp_path, capsys, updates):
    assert train(train_config(max_iters=updates, profile=True, probes=False)) == 0
    output = capsys.readouterr().out
    assert ("no update is traced" in output) is (updates <= 3)
    assert (tmp_path / "run" / "trace.json").exists() is (updates > 3)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["profile"] is True
