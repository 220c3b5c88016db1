"""Many runs on many machines: Ray schedules them; here is what a run needs and how it goes on.

Every run trains inside a worker process of Ray, and ends with the node that it is on: where the node still
stands, the run saves first. Ray then starts it again elsewhere, and it resumes from its checkpoint. All
nodes need the same file system under the same path: for the run directories, the data, and this code.
"""

import contextlib
import importlib
import importlib.util
import io
import os
import platform
import signal
import socket
import sys
from pathlib import Path

from reslab.run.children import PARENT, on_ending_signals, raise_interrupted
from reslab.run.config import run_door
from reslab.run.fields import first_line
from reslab.run.lock import exclusive_lock, host_of_holder
from reslab.run.log import read_run

RETRIES = 20  # how often a run may lose its node
SAVE_MS = 60_000  # that a run may take to save where its node's own process of Ray is gone
LOCK_WAIT = 180  # seconds; a network file system keeps the lock of a lost node for a lease, mostly 90


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
        runs = {}
        for number, (folder, argv) in enumerate(cells, 1):
            label = f"[{number}/{len(cells)}] {folder}"
            if (folder / "config.json").exists() and read_run(folder).status != "unfinished":
                print(f"{label}: kept", flush=True)
                continue
            runs[label] = (str(script), str(Path.cwd()), str(folder), argv, cpus)
        return _train(task, runs)
    finally:
        ray.shutdown()


def _connect(address: str, root: Path) -> None:
    """Join a cluster, or start one on this machine."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    search = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    options = {"log_to_driver": False, "logging_level": "error"}
    # A worker looks that often whether its node is there, and else ends on the spot.
    variables = {"PYTHONPATH": search, "RAY_raylet_death_check_interval_milliseconds": str(SAVE_MS)}
    options |= {"runtime_env": {"env_vars": variables}}
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
            f"--ray={address}: no cluster answers ({reason}); start one (ray start --head), set "
            "RAY_AUTH_MODE=token if it asks for a token, or use --ray=local"
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


def _train(task, runs: dict[str, tuple]) -> int:
    """Train all; returns 0, or the code of what ended it: a signal, or the first run that neither finished
    nor diverged. Either stops the others, which save.

    Args:
        task: Ray's, of train_in_worker.
        runs: label of each -> the arguments of its task.
    """
    import ray

    code, came = 0, []
    # Inside Ray a handler that raises would be told as a Ctrl-C, whatever the signal.
    with on_ending_signals(lambda number, frame: came.append(number)):
        running = {task.remote(*arguments): label for label, arguments in runs.items()}
        while running and came.count(signal.SIGINT) < 2:  # a second Ctrl-C ends at once
            done, _ = ray.wait(list(running), timeout=1)
            answers = {running.pop(ref): _answer(ref) for ref in done}
            if came and not code:
                code = 128 + came[0]
                _cancel(running)
            for label, (ended, message) in answers.items():
                if ended > 128 and not code:  # its node was asked to end, not the grid
                    running[task.remote(*runs[label])] = label
                    continue
                if ended in (0, 3) or not code:  # a run that diverged is a result
                    print(f"{label}: {message}", flush=True)
                if ended not in (0, 3) and not code:
                    code = ended
                    print(f"stopping: exit code {code}; the same command goes on from here", file=sys.stderr)
                    _cancel(running)
    return code


def _cancel(running: dict) -> None:
    """Ask runs to save and end: once, since a second time means at once."""
    import ray

    for ref in running:
        ray.cancel(ref)


def _answer(ref) -> tuple[int, str]:
    """What train_in_worker returned; code 1 and the reason where Ray gave a run up."""
    import ray

    try:
        return ray.get(ref)
    except ray.exceptions.RayError as error:
        return 1, first_line(error)


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
    node = os.getppid()  # Ray's own process of this node, which started this one
    os.environ[PARENT] = str(node)
    sys.argv = [script, *argv]

    def door(argv: list[str]) -> int:
        _await_lock(Path(folder))
        if (Path(folder) / "config.json").exists():
            sys.argv.append("--resume")
        return importlib.import_module(Path(script).stem).main(sys.argv[1:])

    output = io.StringIO()
    told = contextlib.redirect_stdout(output), contextlib.redirect_stderr(output)
    with told[0], told[1], on_ending_signals(raise_interrupted):  # before there is anything to save
        try:
            run_door(door)
        except SystemExit as end:
            code = end.code
    if os.getppid() != node:  # nobody is left to take the answer
        os._exit(code)
    last = (output.getvalue().strip().splitlines() or [""])[-1].removeprefix(f"{folder}: ")
    return code, f"{'resumed' if sys.argv[-1] == '--resume' else 'trained'} on {host}: {last}"


def _await_lock(folder: Path) -> None:
    """Wait for whoever trained here before: it may be saving, or its node may be lost and a network file
    system keep its lock. A lock that a lost node's process keeps for good is removed.

    Raises:
        ValueError: another process, which may live, keeps the lock.
    """
    try:
        with exclusive_lock(folder, "training here", wait=LOCK_WAIT):
            pass
    except ValueError:
        import ray

        alive = {
            node["NodeManagerHostname"]: node["Alive"]
            for node in sorted(ray.nodes(), key=lambda node: node["Alive"])
        }
        if alive.get(host_of_holder(folder), True):  # it may also be none of this cluster
            raise
        (folder / "lock").unlink(missing_ok=True)
