"""A grid on a cluster of several nodes, one of which is killed: the same results as on one machine."""

import importlib.util
import json
import threading
import time

import pytest
from conftest import ROOT
from runs_by_hand import write_run

import compare
from reslab.run.configfile import UsageError
from reslab.run.log import read_run
from reslab.system import cluster
from reslab.training import grid as grids

TINY = ["--n_layer=2", "--n_head=2", "--n_embd=16", "--block_size=16", "--batch_size=4", "--eval_sequences=8"]
TINY += ["--warmup_iters=2", "--eval_interval=20", "--log_interval=1", "--device=cpu"]
TIMES = {"elapsed_s", "tokens_per_s"}


def grid(dataset, out_dir, *more):
    argv = [str(ROOT / "config/smoke.py"), *TINY, f"--dataset={dataset}", f"--out_dir={out_dir}"]
    args, places, settings = compare.read_arguments([*argv, "--arms=pre,none,post", *more])
    return args, grids.plan(args, places, settings)


def rows(folder) -> list[dict]:
    return [{key: v for key, v in row.items() if key not in TIMES} for row in read_run(folder).rows]


def test_without_ray_the_grid_is_trained_here(dataset_folder, tmp_path, monkeypatch, capsys):
    trained = []
    monkeypatch.setattr(grids, "train_cell", lambda folder, *rest: trained.append(folder) or 0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    args, cells = grid(dataset_folder, tmp_path, "--ray=local")
    assert grids.train_cells(args, cells) == 0
    assert trained == [cell.folder for cell in cells]
    assert "--ray=local: ray is not installed (run: " in capsys.readouterr().out


@pytest.mark.parametrize(("code", "told"), [(143, 1), (130, 1), (2, 0), (0, 0)])
def test_a_grid_that_a_signal_ends_says_what_it_kept(
    dataset_folder, tmp_path, monkeypatch, capsys, code, told
):
    monkeypatch.setattr(cluster, "missing", lambda: None)
    monkeypatch.setattr(cluster, "train_on_ray", lambda *rest: code)
    args, cells = grid(dataset_folder, tmp_path, "--ray=local")
    write_run(cells[0].folder.parent, cells[0].folder.name)
    write_run(cells[1].folder.parent, cells[1].folder.name, status="")
    assert grids.train_cells(args, cells) == code
    line = "stopped: 1 of 3 runs are done, 1 saved on their way; the same command goes on from here"
    assert capsys.readouterr().err.splitlines() == [line] * told


@pytest.mark.parametrize("options", ["--gpus_per_run=2", "--gpus_per_run=x", "--cpus_per_run=0"])
def test_what_no_run_can_use_is_refused(options):
    with pytest.raises(UsageError, match=f"^{options}: must be "):
        compare.read_arguments([str(ROOT / "config/smoke.py"), "--ray=local", options])


def test_a_worker_without_the_file_system_says_so(tmp_path):
    code, message = cluster.train_in_worker("train.py", str(tmp_path / "elsewhere"), "runs/x", [], 1)
    assert code == 2 and "elsewhere is not there on" in message and "the same file system" in message


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere:x"])
def test_a_cluster_that_is_not_there_is_told_in_a_line(dataset_folder, tmp_path, address, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    args, cells = grid(dataset_folder, tmp_path, f"--ray={address}")
    with pytest.raises(ValueError, match=rf"^--ray={address}: no cluster answers \(.*\); start one .*local$"):
        grids.train_cells(args, cells)


@pytest.mark.cluster
def test_a_lost_node_loses_nothing(dataset_folder, tmp_path, monkeypatch, capsys):
    pytest.importorskip("ray", reason="ray is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    length = "--max_iters=400"
    args, alone = grid(dataset_folder, tmp_path / "alone", length)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    doomed = nodes.add_node(num_cpus=1, include_dashboard=False)
    nodes.add_node(num_cpus=1, include_dashboard=False)
    args, cells = grid(dataset_folder, tmp_path / "cluster", length, f"--ray={nodes.address}")

    def kill_when_two_runs_are_on_their_way():
        def under_way():
            files = [cell.folder / "metrics.jsonl" for cell in cells]
            return sum(file.exists() and file.read_bytes().count(b"val/loss") >= 2 for file in files)

        while under_way() < 2:
            time.sleep(0.02)
        nodes.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=kill_when_two_runs_are_on_their_way, daemon=True)
    killer.start()
    try:
        assert grids.train_cells(args, cells) == 0
    finally:
        nodes.shutdown()
    killer.join(timeout=1)
    output = capsys.readouterr().out
    assert output.count(": resumed on ") == 1 and output.count(": trained on ") == 2, output

    assert grids.train_grid([(cell.folder, cell.argv) for cell in alone], jobs=1) == 0
    for there, here in ((one.folder, other.folder) for one, other in zip(cells, alone, strict=True)):
        assert rows(there) == rows(here)
        states = [json.loads((f / "checkpoint/last/state.json").read_text("utf-8")) for f in (there, here)]
        assert states[0]["step"] == states[1]["step"] == 400
        weights = [(folder / "checkpoint/last/model.safetensors").read_bytes() for folder in (there, here)]
        assert weights[0] == weights[1]
