"""Runs on a cluster, with a Ray that is made up: what is asked for, and which code ends the whole."""

import os
import platform
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from runs_by_hand import write_run

from reslab.run import children
from reslab.run.lock import exclusive_lock
from reslab.system import cluster


class RayError(Exception):
    pass


@pytest.fixture
def ray(monkeypatch):
    """A Ray whose runs end in the order they began, each as `ends` says by its folder's name."""
    made = SimpleNamespace(ends={}, submitted=[], cancelled=[], options=None, resources={"CPU": 8.0}, down=0)
    made.nodes_ = [{"Alive": True, "Resources": {"CPU": 8.0}}]

    def get(ref):
        end = made.ends.pop(ref, (0, "finished"))
        if isinstance(end, Exception):
            raise end
        for number in end if isinstance(end, list) else ():  # they come while this run goes on
            signal.raise_signal(number)
        return (128 + signal.SIGINT, "saved") if isinstance(end, list) else end

    def remote(**options):
        made.options = options

        def submit(script, cwd, folder, argv, threads):
            made.submitted.append((script, folder, argv, threads))
            return os.path.basename(folder)  # noqa: PTH119

        return lambda function: SimpleNamespace(remote=submit)

    fake = SimpleNamespace(
        init=lambda **options: None,
        nodes=lambda: made.nodes_,
        cluster_resources=lambda: made.resources,
        remote=remote,
        wait=lambda refs, **options: (refs[:1], refs[1:]),
        get=get,
        cancel=made.cancelled.append,
        shutdown=lambda: setattr(made, "down", made.down + 1),
        exceptions=SimpleNamespace(RayError=RayError),
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    made.fake = fake
    return made


@pytest.fixture
def cells(tmp_path):
    write_run(tmp_path, "done")
    write_run(tmp_path, "diverged", status="diverged")
    write_run(tmp_path, "begun", status="")
    return [(tmp_path / name, [f"--name={name}"]) for name in ("done", "diverged", "begun", "a", "b", "c")]


def trained(cells, tmp_path, cpus=2, gpus=None) -> int:
    return cluster.train_on_ray(cells, tmp_path / "train.py", "local", cpus, gpus)


def test_what_has_ended_is_kept_and_the_rest_is_asked_for(ray, cells, tmp_path, capsys):
    assert trained(cells, tmp_path) == 0 and ray.down == 1
    expected = [(str(tmp_path / "train.py"), str(f), argv, 2) for f, argv in cells[2:]]
    assert ray.submitted == expected and not ray.cancelled
    message = capsys.readouterr().out
    assert [line.split()[0] for line in message.splitlines() if line.endswith(": kept")] == ["[1/6]", "[2/6]"]
    assert f"[3/6] {tmp_path / 'begun'}: finished" in message


@pytest.mark.parametrize(
    ("ends", "code", "cancelled"),
    [
        ({"begun": (3, "diverged"), "c": (3, "diverged")}, 0, []),
        ({"a": (1, "disk full"), "b": (130, "stopped"), "c": (143, "stopped")}, 1, ["b", "c"]),
        ({"begun": (3, "diverged"), "b": (2, "wrong")}, 2, ["c"]),
        ({"a": RayError("lost\nfor ever")}, 1, ["b", "c"]),
    ],
)
def test_the_first_that_breaks_stops_the_others_and_a_divergence_does_not(
    ray, cells, tmp_path, capsys, ends, code, cancelled
):
    ray.ends = ends
    assert trained(cells, tmp_path) == code and ray.cancelled == cancelled and ray.down == 1
    captured = capsys.readouterr()
    assert (f"stopping: exit code {code}; " in captured.err) is (code in (1, 2))
    assert captured.out.count("for ever") == 0


@pytest.mark.parametrize("name", [s for s in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, s)])
def test_a_signal_is_told_by_its_number_after_the_runs_have_saved(ray, cells, tmp_path, capsys, name):
    number = getattr(signal, name)
    ray.ends = {"a": [number], "b": (128 + signal.SIGINT, "saved"), "c": (0, "was done before")}
    assert trained(cells, tmp_path) == 128 + number
    assert ray.cancelled == ["b", "c"] and not ray.ends  # all were waited for
    told = capsys.readouterr().out
    assert "was done before" in told and "saved" not in told


def test_a_second_ctrl_c_waits_for_nobody(ray, cells, tmp_path):
    ray.ends = {"begun": [signal.SIGTERM] * 2, "a": [signal.SIGINT], "b": [signal.SIGINT], "c": (0, "")}
    assert trained(cells, tmp_path) == 128 + signal.SIGTERM
    assert set(ray.ends) == {"c"} and ray.cancelled == ["a", "b", "c"] and ray.down == 1  # each once


def test_a_run_whose_node_is_asked_to_end_is_begun_elsewhere(ray, cells, tmp_path, capsys):
    ray.ends = {"a": (128 + signal.SIGTERM, "saved")}
    assert trained(cells, tmp_path) == 0 and not ray.cancelled
    assert [Path(folder).name for _, folder, *_ in ray.submitted] == ["begun", "a", "b", "c", "a"]
    assert f"{tmp_path / 'a'}: finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("resources", "gpus", "num_gpus"),
    [({"CPU": 8.0}, None, 0), ({"GPU": 4.0}, None, 1), ({"GPU": 4.0}, 0.25, 0.25), ({"GPU": 4.0}, 0, 0)],
)
def test_a_run_gets_the_cores_it_asks_for_and_a_gpu_where_there_is_one(
    ray, cells, tmp_path, resources, gpus, num_gpus
):
    ray.resources = resources
    trained(cells, tmp_path, 3, gpus)
    expected = {"num_cpus": 3, "num_gpus": num_gpus, "max_calls": 1, "max_retries": cluster.RETRIES}
    assert ray.options == expected and cluster.RETRIES > 1


@pytest.mark.parametrize(
    ("cpus", "alive", "waits"), [(8, True, False), (9, True, True), (8, False, True), (1, True, False)]
)
def test_a_run_that_no_node_can_take_is_told_to_wait(ray, cells, tmp_path, capsys, cpus, alive, waits):
    ray.nodes_ = [{"Alive": alive, "Resources": {"CPU": 8.0}}, {"Alive": True, "Resources": {"CPU": 2.0}}]
    trained(cells, tmp_path, cpus)
    most = 8 if alive else 2
    message = f"no node has {cpus} cores and 0 GPUs for a run (at most {most} and 0): waiting"
    assert (message in capsys.readouterr().out) is waits


WORKER = """
import os, signal, sys
from reslab.run.config import MachineError
def main(argv):
    print("a first line")
    if "--full" in argv: raise MachineError("the disk is full")
    if "--early" in argv: signal.raise_signal(signal.SIGTERM)
    print(f"{argv} {os.environ['OMP_NUM_THREADS']} {os.getcwd()}")
    return 3
"""


def test_a_worker_trains_in_its_process_and_answers_with_code_and_last_line(tmp_path, monkeypatch):
    (tmp_path / "worker_script.py").write_text(WORKER, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    watched = []
    monkeypatch.setattr(children, "follow_parent", lambda: watched.append(os.environ.pop(children.PARENT)))
    monkeypatch.setattr(sys, "argv", ["ray"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir("/")
    (tmp_path / "runs").mkdir()
    begun = write_run(tmp_path / "runs", "begun", status="")

    def answer(folder, *args):
        return cluster.train_in_worker(
            str(tmp_path / "worker_script.py"), str(tmp_path), str(folder), list(args), 5
        )

    code, message = answer(tmp_path / "runs" / "new", "--a=1")
    assert code == 3 and message.startswith("trained on ") and message.endswith(f"['--a=1'] 5 {tmp_path}")
    code, message = answer(begun, "--a=1")
    assert code == 3 and message.startswith("resumed on ") and "['--a=1', '--resume'] 5" in message
    code, message = answer(begun, "--full")
    assert code == 1 and message.endswith("error: the disk is full")
    assert answer(tmp_path / "runs" / "new", "--early") == (143, f"trained on {platform.node()}: stopped")
    assert watched == [str(os.getppid())] * 4  # a run ends with what started its process, and saves


def alive(*hosts: tuple[str, bool]) -> list[dict]:
    return [{"NodeManagerHostname": host, "Alive": there} for host, there in hosts]


def test_a_run_waits_for_who_trained_it_before(tmp_path):
    held, events = threading.Event(), []

    def former():
        with exclusive_lock(tmp_path, "saving"):
            held.set()
            time.sleep(0.2)
            events.append("saved")

    thread = threading.Thread(target=former)
    thread.start()
    held.wait()
    cluster._await_lock(tmp_path)
    events.append("begun")
    thread.join()
    assert events == ["saved", "begun"]


@pytest.mark.parametrize(
    ("nodes", "taken"),
    [
        (alive(("lost", False), ("here", True)), True),
        (alive(("lost", True), ("lost", False)), False),  # it has come back
        (alive(("lost", False), ("lost", True)), False),
        (alive(("here", True), ("other", False)), False),  # of no node: a train.py somewhere else
    ],
)
def test_only_the_lock_of_a_lost_node_is_taken(ray, tmp_path, monkeypatch, nodes, taken):
    ray.nodes_ = nodes
    monkeypatch.setattr(cluster, "LOCK_WAIT", 0.01)
    monkeypatch.setattr(platform, "node", lambda: "lost")
    with exclusive_lock(tmp_path, "training here"):
        if not taken:
            with pytest.raises(ValueError, match=r"another process is training here \(pid \d+ on lost\)"):
                cluster._await_lock(tmp_path)
            return
        cluster._await_lock(tmp_path)
        with exclusive_lock(tmp_path, "training here"):
            pass
