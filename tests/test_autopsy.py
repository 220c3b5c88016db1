"""autopsy.py: the report holds what dissection.py finds, and its lines what the report holds."""

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import tiny_config

import autopsy
from autopsy import examine, lens_text, tell
from reslab.data.corpus import write_dataset
from reslab.data.dataset import TokenDataset
from reslab.instruments import dissection
from reslab.model import GPT
from reslab.residual import WIRINGS
from reslab.run.log import read_run
from reslab.run.options import AutopsyConfig
from reslab.training.load import load
from reslab.training.loop import train


def decode(ids) -> str:
    return bytes(ids).decode("latin-1")


def sequences(dataset, count: int = 6):
    return dataset.sequences("val", dataset.eval_starts("val", count))


CONFIG = AutopsyConfig(sequences=6, tokens=3, draws=2)


@pytest.fixture
def dataset(dataset_folder):
    return TokenDataset(dataset_folder, 8, 1)


def model_for(dataset, **changes):
    model = GPT(tiny_config(vocab_size=dataset.vocab_size, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("asked", [6, 10**9])
def test_how_many_sequences_are_taken_and_how_long_is_told_first(dataset, asked, capsys, monkeypatch):
    model, clock = model_for(dataset), iter([100.0, 101.5])
    config = replace(CONFIG, sequences=asked)
    monkeypatch.setattr(autopsy, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    examine(model, *sequences(dataset), decode, config)
    every = ", all there are of the 1,000,000,000 asked for" if asked > 6 else ""
    passes = 2 + (3 + config.draws) * len(model.blocks)
    told = f"lesions: 6 sequences{every}, at most {passes} times, about {1.5 * passes:,.0f} s"
    assert told in capsys.readouterr().err.splitlines()


def test_a_report_holds_what_the_functions_give(dataset):
    model = model_for(dataset)
    before = copy.deepcopy(model.state_dict())
    report = examine(model, *sequences(dataset), decode, CONFIG)
    rows = [dataset.ids["val"][s : s + 9].astype("int64") for s in dataset.eval_starts("val", 6)]
    ids = torch.tensor([row.tolist() for row in rows])
    x, y, exact = ids[:, :-1], ids[:, 1:], copy.deepcopy(model).double()
    losses, tokens = dissection.logit_lens(model, x[:4], y[:4])
    assert report == {
        "layers": 3,
        "lesions": dissection.lesions(model, x, y, draws=2),
        "influence": dissection.block_influence(model, x[:4], y[:4]),
        "lens": losses,
        "lens_text": lens_text(decode, x[0], tokens[:, 0]),
        "perturbation": dissection.perturbation(exact, x[:4]),
        "jacobians": dissection.jacobians(exact, x[:1, :3]),
        "paths": dissection.path_lengths(exact, x[:1, :3], y[:1, :3]),
        "missing": {},
    }
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, before[name])


@pytest.mark.parametrize("wiring", WIRINGS)
def test_a_report_leaves_out_what_a_wiring_has_not(dataset, wiring):
    report = examine(model_for(dataset, residual=wiring), *sequences(dataset), decode, CONFIG)
    single = WIRINGS[wiring].single_tensor
    assert ("lesions" in report) == (wiring not in ("dense", "attention_residual"))
    assert ("jacobians" in report) == single
    assert ("paths" in report) == (single and wiring not in ("post", "deepnorm", "keel", "highway"))
    rows, findings = tell(report)
    assert len(rows) == 3
    absent = [name for name in ("lesions", "jacobians", "paths") if name not in report]
    assert [line.split(":")[0] for line in findings if ": n/a, residual=" in line] == absent
    assert (rows[1]["without mlp"] == "n/a") == ("lesions" in absent)
    assert (rows[1]["largest"] == "n/a") == ("jacobians" in absent)
    if "lesions" in report:
        assert any("n/a, they are not x times a constant" in line for line in findings) == ("paths" in absent)


# Every number differs from every other, so that one in another's place shows.
HAND = {
    "layers": 2,
    "influence": [0.125, 0.25],
    "lens": [4.5, 3.5, 2.5],
    "lens_text": "",
    "lesions": {
        "loss": {"delta": 2.125, "se": 0.017},
        "skips": {"delta": 1.875, "se": 0.018},
        "block": [{"delta": 1.5, "se": 0.011}, {"delta": -0.25, "se": 0.012}],
        "attn": [{"delta": 0.75, "se": 0.013}, {"delta": 0.875, "se": 0.014}],
        "mlp": [{"delta": 0.375, "se": 0.015}, {"delta": 0.625, "se": 0.016}],
    },
    "perturbation": [[9.0, 0.2, 0.4], [0.0, 8.0, 0.05], [0.0, 0.0, 7.0]],
    "jacobians": [
        {
            "smallest": 1,
            "median": 2,
            "largest": 3,
            "product": {"smallest": 0.1, "median": 0.2, "largest": 0.3},
        },
        {
            "smallest": 4,
            "median": 5,
            "largest": 6,
            "product": {"smallest": 0.4, "median": 0.5, "largest": 0.6},
        },
    ],
    "paths": {"norms": [0.031, 0.2, 0.3, 0.4, 0.052], "total": 0.061, "error": 2e-12},
    "missing": {},
}


def test_a_row_tells_the_numbers_of_its_layer():
    rows, findings = tell(HAND)
    assert rows == [
        {
            "layer": "0",
            "influence": "0.125",
            "lens loss before": "4.500",
            "without block": "+1.500 ± 0.011",
            "without attn": "+0.750 ± 0.013",
            "without mlp": "+0.375 ± 0.015",
            "dy/dx so far: median": "2.0e-01",
            "largest": "3.0e-01",
        },
        {
            "layer": "1",
            "influence": "0.250",
            "lens loss before": "3.500",
            "without block": "-0.250 ± 0.012",
            "without attn": "+0.875 ± 0.014",
            "without mlp": "+0.625 ± 0.016",
            "dy/dx so far: median": "5.0e-01",
            "largest": "6.0e-01",
        },
    ]
    # (0.2 + 0.4) / 2, and of the tokens after it the one that another follows
    assert re.findall(r"\d\.\de-\d\d", findings[0]) == ["3.0e-01", "5.0e-02"]
    assert re.findall(r"\de[-\d]+|\d\.\de-\d\d", findings[1]) == ["6.1e-02", "3.1e-02", "5.2e-02", "2e-12"]
    assert "all 4 branches 5.2e-02" in findings[1] and "passed no branch 3.1e-02" in findings[1]
    assert "the loss is 2.125 ± 0.017" in findings[2] and "changes by +1.875 ± 0.018" in findings[2]
    alone = tell(HAND | {"perturbation": [[1.0]]})[1][0]
    assert alone.count("0.0e+00") == 2  # one token has nothing behind it


def test_a_lens_shows_its_tokens_under_the_text():
    ids = torch.tensor(list(b"ab\ncd"))
    shown = lens_text(decode, ids, torch.stack([ids + 1, ids + 2]), width=4)
    assert shown.splitlines() == [
        "    read  ab·c",
        "       0  bc\N{VT}d".replace("\N{VT}", "·"),
        "       1  cd·e",
    ]


@pytest.mark.parametrize(("key", "least"), [("sequences", 2), ("tokens", 1), ("draws", 1)])
def test_settings_are_taken_down_to_their_least(key, least):
    assert not AutopsyConfig(**{key: least}).faults()
    assert AutopsyConfig(**{key: least - 1}).faults() == [f"{key}={least - 1}: must be at least {least}"]


def test_what_is_printed_is_what_is_kept(train_config, tmp_path, capsys):
    config = train_config(max_iters=2)
    train(config)
    capsys.readouterr()
    folder, small = Path(config.out_dir), tmp_path / "small.json"
    assert autopsy.main([str(folder), "--sequences=4", "--tokens=2", "--draws=2", f"--json={small}"]) == 0
    shown, run = capsys.readouterr().out, read_run(folder)
    report = json.loads((folder / "autopsy.json").read_text(encoding="utf-8"))
    dataset = TokenDataset(Path(config.dataset), 16, config.seed)
    small_config = AutopsyConfig(sequences=4, tokens=2, draws=2)

    def decode(ids) -> str:
        return dataset.tokenizer.decode_bytes(ids).decode()

    expected = examine(load(folder)[0], *sequences(dataset, 4), decode, small_config)
    assert report.pop("diagnosis") == run.last("diagnosis") == shown.splitlines()[0]
    assert report == json.loads(json.dumps(expected))
    kept, (rows, findings) = json.loads(small.read_text(encoding="utf-8")), tell(report)
    assert (
        kept["layers"] == rows and kept["findings"] == findings and kept["diagnosis"] == run.last("diagnosis")
    )
    assert kept["paths"] == pytest.approx(report["paths"]["norms"], rel=5e-3)
    commit = run.facts["git_commit"] or "unknown"  # a copy without a history has none
    assert kept["machine"] == run.facts["machine"] and kept["git_commit"] == commit
    assert all(line in shown for line in findings) and report["lens_text"] in shown


def test_other_data_than_the_runs_are_refused(train_config, tmp_path):
    write_dataset(tmp_path / "text", lambda: ["some text " * 100], "byte", "one", quiet=True)
    config = train_config(max_iters=1, dataset=str(tmp_path / "text"))
    train(config)
    write_dataset(tmp_path / "text", lambda: ["other text " * 100], "byte", "two", quiet=True)
    with pytest.raises(ValueError, match=r"not the data that .* was trained on"):
        autopsy.main([config.out_dir, "--sequences=2"])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"n_layer": "three", "seed": [], "residual": {}}, "n_layer is a str, must be a number"),
        ({"n_layer": 3}, "no value for dataset; give the folder with --dataset"),
    ],
)
def test_a_damaged_record_is_told_with_its_place(settings, reason, tmp_path):
    record = tmp_path / "config.json"
    record.write_text(json.dumps({"config": settings, "dataset": 7}), encoding="utf-8")
    with pytest.raises(ValueError) as told:
        autopsy.of_run(f"{tmp_path}", AutopsyConfig())
    assert str(told.value) == f"{record}: {reason}"


def test_a_file_in_place_of_a_folder_is_told_what_it_is(tmp_path):
    path = tmp_path / "weights.pt"
    texts = [], ["--text=book.txt"]
    torch.save({"w": torch.ones(2)}, path)
    for options in texts:
        with pytest.raises(ValueError, match=r"^[^=]*weights.pt: a bare state dict: the settings"):
            autopsy.main([str(path), *options])
    shape = dict.fromkeys(("vocab_size", "block_size", "n_layer", "n_head", "n_embd"), 2)
    torch.save({"model": {"w": torch.ones(2)}, "model_args": shape}, path)
    with pytest.raises(ValueError, match=r"of nanoGPT; make a run of it with train.py --init_from="):
        autopsy.main([str(path)])
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(ValueError, match="a file of a run; give its folder"):
        autopsy.main([str(path)])
