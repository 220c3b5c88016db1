"""Many runs on many machines: Ray schedules them; here is what a run needs and how it goes on.

Every run trains inside a worker process of Ray and dies with it, so nothing goes on writing where a
node is lost. Ray then starts the run again elsewhere, and it resumes from its checkpoint. All nodes
need the same file system under the same path: for the run directories, the data, and this code.
"""

import contextlib
import importlib
import importlib.util
import io
import os
import platform
import socket
import sys
from pathlib import Path

from reslab.run.children import Interrupted, on_ending_signals, raise_interrupted
from reslab.run.config import run_door
from reslab.run.fields import first_line
from reslab.run.log import read_run

RETRIES = 20  # how often a run may lose its node


def missing() -> str | None:
    """Why there is no Ray here; None when there is."""
    if importlib.util.find_spec("ray") is None:
        return f"ray is not installed (run: {sys.executable} -m pip install ray)"
    return None


def train_on_ray(
    cells: list[tuple[Path, list[str]]], script: Path, address: str, cpus: int, gpus: float | None
) -> int:
    """Train the missing cells on a cluster; returns 0, or the exit code of a cell that ended it.

    Args:
        cells: run directory and command line of each.
        script: train.py.
        address: local, auto, or HOST:PORT of a running cluster.
        cpus: cores, and so threads, per run.
        gpus: per run, or a part of one; 1 where a node has one when None.

    Raises:
        ValueError: no cluster answers.
    """
    import ray

    _connect(address, script.parent)
    try:
        if gpus is None:
            gpus = 1 if ray.cluster_resources().get("GPU") else 0
        _warn_of_too_much(ray.nodes(), cpus, gpus)
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_calls": 1, "max_retries": RETRIES}
        task = ray.remote(**options)(train_in_worker)
        running = {}
        for number, (folder, argv) in enumerate(cells, 1):
            label = f"[{number}/{len(cells)}] {folder}"
            if (folder / "config.json").exists() and read_run(folder).status != "unfinished":
                print(f"{label}: kept", flush=True)
                continue
            running[task.remote(str(script), str(Path.cwd()), str(folder), argv, cpus)] = label
        with on_ending_signals(raise_interrupted):
            return _await(running)
    finally:
        ray.shutdown()


def _connect(address: str, root: Path) -> None:
    """Join a cluster, or start one on this machine."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    search = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    options = {"log_to_driver": False, "logging_level": "error"}
    options |= {"runtime_env": {"env_vars": {"PYTHONPATH": search}}}
    if address == "local":
        options["include_dashboard"] = False
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=5).close()
        ray.init(address=address, **options)
    except (OSError, RuntimeError, ValueError) as error:
        reason = first_line(error)
        raise ValueError(
            f"--ray={address}: no cluster answers ({reason}); start one (ray start --head) or use --ray=local"
        ) from None


def _warn_of_too_much(nodes: list[dict], cpus: int, gpus: float) -> None:
    """Say so when no node of now can take a run: Ray waits until one comes."""
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in resources):
        most = {key: max((node.get(key, 0) for node in resources), default=0) for key in ("CPU", "GPU")}
        print(
            f"no node has {cpus} cores and {gpus:g} GPUs for a run (at most {most['CPU']:g} and "
            f"{most['GPU']:g}): waiting for one; Ctrl-C stops",
            flush=True,
        )


def _await(running: dict) -> int:
    """Wait for all runs; the first that neither finished nor diverged stops the others, which save."""
    import ray

    ended = 0
    try:
        while running:
            (ref, *_), _ = ray.wait(list(running))
            label = running.pop(ref)
            try:
                code, message = ray.get(ref)
            except ray.exceptions.RayError as error:
                code, message = 1, first_line(error)
            print(f"{label}: {message}", flush=True)
            if code not in (0, 3) and not ended:  # a run that diverged is a result
                ended = code
                print(f"stopping: exit code {code}; the same command goes on from here", file=sys.stderr)
                for other in running:
                    ray.cancel(other)
    except KeyboardInterrupt as stop:
        for ref in running:
            ray.cancel(ref)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=60)  # they save
        return stop.code if isinstance(stop, Interrupted) else 130
    return ended


def train_in_worker(script: str, cwd: str, folder: str, argv: list[str], threads: int) -> tuple[int, str]:
    """Train one run, or go on with it, in this process.

    Returns:
        train.py's exit code, and its last line.
    """
    host = platform.node()
    for path in (cwd, script):
        if not Path(path).exists():
            return 2, f"{path} is not there on {host}; all nodes need the same file system"
    os.chdir(cwd)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported
    begun = (Path(folder) / "config.json").exists()
    sys.argv = [script, *argv, *(["--resume"] if begun else [])]
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            run_door(importlib.import_module(Path(script).stem).main)
        except SystemExit as end:
            code = end.code
    last = (output.getvalue().strip().splitlines() or [""])[-1].removeprefix(f"{folder}: ")
    return code, f"{'resumed' if begun else 'trained'} on {host}: {last}"
