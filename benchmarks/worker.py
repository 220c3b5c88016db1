"""One side in a process of its own: reads a JSON task per line, answers each with a line.

python -m benchmarks.worker ours
python -m benchmarks.worker nanogpt PATH
python -m benchmarks.worker transformers
python -m benchmarks.worker limit
"""

import json
import os
import sys
import time

from reslab.run.fields import named_line


def main(argv: list[str]) -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the sides print is not an answer
    import torch

    from benchmarks import peers, sides

    kinds = {"ours": sides.Ours, "nanogpt": sides.NanoGPT}
    kinds |= {"transformers": peers.Transformers, "limit": peers.Limit}
    side = kinds[argv[0]](*argv[1:])
    for line in sys.stdin:
        task = json.loads(line)
        try:
            answer = run(side, sides, torch, **task)
        except Exception as error:
            answer = {"error": named_line(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def run(side, sides, torch, task: str, **arguments) -> dict:
    """Do one task and say how long it took; times are seconds."""
    from benchmarks import growth, local

    if task == "build":
        begin = time.perf_counter()
        facts = side.build(arguments["settings"])
        return facts | {"s": time.perf_counter() - begin}
    if task == "first_step":
        facts = side.build(arguments["settings"])
        side.step()
        sides.synchronize(side)
        return facts | {"s": time.time() - arguments["started"], "cpu_s": time.process_time()}
    if task == "train_until":
        return sides.train_until(side, arguments["goal"], arguments["every"])
    if task == "memory":
        return {"bytes": peak_bytes(side, torch)}
    if task == "kernel_seconds":
        return {"kernels_s": kernel_seconds(side, arguments["count"])}
    if task in local.TASKS:
        return local.TASKS[task](arguments["quick"])
    if task == "compare_runs":
        return growth.compare_runs(arguments["count"])
    begin, cpu = time.perf_counter(), time.process_time()
    if task == "steps":
        for _ in range(arguments["count"]):
            side.step()
    elif task == "sample":
        side.sample(arguments["batch"], arguments["count"])
    elif task == "probe_look":
        side.probe()
    sides.synchronize(side)
    return {"s": time.perf_counter() - begin, "cpu_s": time.process_time() - cpu}


def kernel_seconds(side, count: int) -> float:
    """Seconds of GPU kernels in a step, waiting left out."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(count):
            side.step()
    return sum(event.self_device_time_total for event in seen.key_averages()) / 1e6 / count


def peak_bytes(side, torch) -> int:
    """Most memory held so far: on a GPU what torch allocated there, else the whole process."""
    if side.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


if __name__ == "__main__":
    main(sys.argv[1:])
