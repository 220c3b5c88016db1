"""Data under a run: a dataset that grows, moves or is prepared anew, and runs that live or go on."""

import json
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest

import autopsy
from reslab.data.corpus import write_dataset
from reslab.data.dataset import TokenDataset, same_data
from reslab.data.documents import Plan, prepare
from reslab.data.source import Source
from reslab.run.log import read_run
from reslab.training.loop import train
from reslab.training.step import train_step

TEXTS = [f"Document {i} of them. " * (1 + i % 9) for i in range(900)]
SIZES = (20_000, 50_000, None)


@pytest.fixture
def grow(tmp_path, monkeypatch):
    """Prepares more and more of the same documents."""
    from reslab.data import documents

    monkeypatch.setattr(documents, "BATCH_DOCUMENTS", 20)
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")

    def prepare_more(max_tokens=None, overwrite=False, out="data"):
        plan = Plan("byte", 8000, 0.2, max_tokens=max_tokens, jobs=1)
        return prepare(tmp_path / out, Source("x", None, (path,)), plan, overwrite, quiet=True)

    return prepare_more


def losses(folder) -> list:
    return read_run(folder).series("batch/loss")


def test_shards_are_added_and_never_changed(grow, tmp_path):
    before = {}
    for size in SIZES:
        meta = grow(size)
        files = {
            path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "data").glob("*.bin")
        }
        assert before.items() <= files.items() and len(files) > len(before)
        before = files
        listed = {shard["file"] for about in meta["splits"].values() for shard in about["shards"]}
        assert listed == {path.name for path in files}
    grow(out="at once")
    for split in ("train", "val"):
        grown, at_once = (TokenDataset(tmp_path / name, 16, 0).ids[split] for name in ("data", "at once"))
        assert (grown[: len(grown)] == at_once[: len(at_once)]).all()


def test_a_dataset_becomes_what_it_was(grow, tmp_path):
    metas, batches = [], []
    for size in SIZES:
        metas.append(grow(size))
        dataset = TokenDataset(tmp_path / "data", 16, 0)
        batches.append(dataset.batch("train", 3, 8)[0])
        assert (np.concatenate([dataset.ids["val"][:]]) < 257).all()
    assert len(metas[-1]["earlier"]) == 2
    for meta, batch in zip(metas, batches, strict=True):
        dataset = TokenDataset(tmp_path / "data", 16, 0)
        assert dataset.go_back(meta["splits"]["train"]["sha256"]) and dataset.meta == meta
        assert dataset.batch("train", 3, 8)[0].equal(batch)
    assert not TokenDataset(tmp_path / "data", 16, 0).go_back("0" * 64)


def test_what_made_a_dataset_may_not_change_while_it_grows(tmp_path):
    """Each setting of the source and of the plan that decides which tokens are where."""
    path = tmp_path / "in.jsonl"
    lines = [json.dumps({"text": text, "body": text}) for text in TEXTS[:60]]
    path.write_text("\n".join(lines), encoding="utf-8")
    source, plan = Source("x", None, (path,)), Plan("byte", 500, 0.2, jobs=1)
    prepare(tmp_path / "data", source, plan, quiet=True)
    others = {"tokenizer": "gpt2", "shard_tokens": 600, "val_share": 0.3}
    others |= {"column": "body", "subset": "s", "repo": "y"}
    assert others.keys() == (source.identity() | plan.identity()).keys()
    for key, value in others.items():
        changed = [replace(one, **{key: value}) if hasattr(one, key) else one for one in (source, plan)]
        if key == "repo":  # whose place files have taken
            changed[0] = replace(source, repo=value, files=())
        with pytest.raises(ValueError, match=rf"another {key} \({key}=.*, now {value}\)"):
            prepare(tmp_path / "data", *changed, quiet=True)


def test_a_live_run_goes_on_while_its_dataset_grows(grow, tmp_path, train_config):
    grow(20_000)
    config = train_config(dataset=str(tmp_path / "data"), out_dir=str(tmp_path / "alone"))
    assert train(config) == 0

    def growing(state, *rest):
        if state.step == 5:
            worker = threading.Thread(target=grow, args=(50_000,))
            worker.start()
            worker.join()
        return train_step(state, *rest)

    shutil.rmtree(tmp_path / "data")
    grow(20_000)
    assert train(replace(config, out_dir=str(tmp_path / "live")), growing) == 0
    assert losses(tmp_path / "live") == losses(tmp_path / "alone")


def test_a_run_resumes_on_the_tokens_it_began_with(grow, tmp_path, train_config, capsys):
    data = str(tmp_path / "data")
    grow(20_000)
    long = train_config(dataset=data, out_dir=str(tmp_path / "long"), schedule="constant")
    short = replace(long, out_dir=str(tmp_path / "short"), optim=replace(long.optim, max_iters=6))
    assert train(long) == train(short) == 0
    old = read_run(tmp_path / "short").facts
    for size in SIZES[1:]:
        grow(size)
    capsys.readouterr()
    assert train(replace(long, out_dir=short.out_dir, resume=True)) == 0
    assert "has grown; this run goes on with the" in capsys.readouterr().out
    assert losses(tmp_path / "short") == losses(tmp_path / "long")
    now = read_run(tmp_path / "short").facts
    assert now["dataset"] == old["dataset"] and now["baselines_nats"] == old["baselines_nats"]
    assert same_data(now["dataset"], data)


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_the_hash_decides_and_the_path_is_free(tmp_path, dataset_folder, train_config, how):
    """Of training, of a grid's runs and of an autopsy."""
    shutil.copytree(dataset_folder, tmp_path / "data")
    config = train_config(dataset=str(tmp_path / "data"), max_iters=4)
    assert train(config) == 0
    (shutil.move if how == "moved" else shutil.copytree)(tmp_path / "data", tmp_path / "elsewhere")
    elsewhere = str(tmp_path / "elsewhere")
    again = replace(config, dataset=elsewhere, resume=True, optim=replace(config.optim, max_iters=8))
    assert train(again) == 0
    run = read_run(tmp_path / "run")
    assert run.config["dataset"] == elsewhere and run.last("step") == 8
    assert run.last("changed")["dataset"] == [str(tmp_path / "data"), elsewhere]
    assert same_data(run.facts["dataset"], elsewhere) and same_data(run.facts["dataset"], str(dataset_folder))
    write_dataset(tmp_path / "other", lambda: ["other text " * 99], "char", "x", quiet=True)
    assert not same_data(run.facts["dataset"], str(tmp_path / "other"))
    with pytest.raises(ValueError, match=r"other: not the data that .* was trained on .* with --dataset"):
        more = replace(config.optim, max_iters=9)
        train(replace(again, dataset=str(tmp_path / "other"), optim=more))


def test_an_autopsy_finds_moved_data(tmp_path, dataset_folder, train_config):
    shutil.copytree(dataset_folder, tmp_path / "data")
    assert train(train_config(dataset=str(tmp_path / "data"), max_iters=2)) == 0
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    argv = [str(tmp_path / "run"), "--sequences=2", "--draws=1", "--tokens=1"]
    with pytest.raises(ValueError, match="no such folder"):
        autopsy.main(argv)
    assert autopsy.main([*argv, f"--dataset={tmp_path / 'elsewhere'}"]) == 0


def test_data_that_a_run_reads_are_not_replaced(grow, tmp_path):
    """The preparation says so beforehand, and neither loses anything; the end of the reader frees them."""
    write_dataset(tmp_path / "text", lambda: ["some text " * 99], "char", "x", quiet=True)
    grow(20_000)
    reader = TokenDataset(tmp_path / "text", 8, 0), TokenDataset(tmp_path / "data", 8, 0)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"text: a run reads train\.bin, and would end; nothing was changed"):
        write_dataset(tmp_path / "text", lambda: ["another text " * 99], "char", "x", quiet=True)
    with pytest.raises(ValueError, match=r"data: a run reads train-00000\.bin, and would end"):
        grow(overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for dataset in reader:
        dataset.batch("train", 0, 4)
    del reader, dataset
    write_dataset(tmp_path / "text", lambda: ["another text " * 99], "char", "x", quiet=True)
    grow(overwrite=True)


def test_a_reader_that_comes_during_a_preparation_is_protected(tmp_path):
    write_dataset(tmp_path, lambda: ["some text " * 99], "char", "x", quiet=True)
    readers = []

    def read():
        readers.append(TokenDataset(tmp_path, 8, 0))
        return ["another text " * 99]

    before = (tmp_path / "train.bin").read_bytes()
    with pytest.raises(ValueError, match=r"a run reads train\.bin"):
        write_dataset(tmp_path, read, "char", "x", quiet=True)
    assert (tmp_path / "train.bin").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meta.json", "train.bin", "val.bin"]
    readers[0].batch("train", 0, 4)


@pytest.mark.parametrize("empty", [b"", b"\n\n", b'{"text": null}\n' * 9])
def test_files_that_held_nothing_go_on_once_they_are_filled(tmp_path, empty):
    path, plan = tmp_path / "in.jsonl", Plan("byte", val_share=0.2, jobs=1)
    path.write_bytes(empty)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"holds no documents|no row holds a text"):
            prepare(tmp_path / "out", Source("x", None, (path,)), plan, quiet=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[:90]), encoding="utf-8")
    meta = prepare(tmp_path / "out", Source("x", None, (path,)), plan, quiet=True)
    assert sum(split["documents"] for split in meta["splits"].values()) == 90
