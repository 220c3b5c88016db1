"""Speed, side by side with others, as ratios inside one run."""

import json
from pathlib import Path

from reslab.run import config as configure
from reslab.run.files import output_fault, write_atomically
from reslab.run.options import BenchConfig

HELP = """
    python bench.py --quick                      one or two minutes, roughly
    python bench.py --only step-6L384,sample-1   some cases; --list names all
    python bench.py --peer nanogpt=../nanoGPT    all cases, 20 minutes
    python bench.py --peer nanogpt=../nanoGPT,transformers   two peers

The sides run in processes of their own and take turns, A B A B, after a warm-up: what else the machine does
meets both. Printed are medians over the turns, and the ratio of each pair of turns; where these disagree by
more than 15% no ratio is given. The side `limit` is the bare products of a step, or one reading of the
weights for a token: ours against it is the share of what the machine can do. The result goes to
runs/bench-<machine>.json; cases that were not run keep what the file said. The figures of the documentation
are in experiments/speed/, which only --out replaces.
"""


def main(argv: list[str]) -> int:
    config = configure.parse(BenchConfig, argv, HELP).config
    from benchmarks.cases import CASES  # here, so that help and faults come before torch
    from benchmarks.machine import earlier_result, facts, machine_name
    from benchmarks.turns import Bench
    from reslab.system import device

    gpu = device.pick_device("auto").startswith("cuda")
    if config.list:
        for name, case in CASES.items():
            print(f"{name:14} {case.__doc__}{' (GPU)' if getattr(case, 'gpu', False) else ''}")
        return 0
    names = choose(config.only, CASES, gpu)
    bench = Bench(peer_folder(config.peer), config.quick, gpu, other_sides(config))
    path = config.out or Path(f"runs/bench-{machine_name()}.json")
    if config.out and (reason := output_fault(path)):
        raise configure.UsageError(f"--out={path}: {reason}")
    result = earlier_result(path, "bench.py", "cases")
    for number, name in enumerate(names, 1):
        print(f"[{number}/{len(names)}] {name}: {CASES[name].__doc__}", flush=True)
        case = CASES[name](bench)
        print(bench.table(case), flush=True)
        result["cases"][name] = {"facts": facts(argv)} | case
        write_atomically(path, json.dumps(result, indent=1) + "\n")
    print(f"written to {path}")
    return 0


def choose(only: str, cases: dict, gpu: bool) -> list[str]:
    """The cases to run: those asked for, or all that this machine can."""
    if not only:
        return [name for name, case in cases.items() if gpu or not getattr(case, "gpu", False)]
    names = [name for name in only.split(",") if name]
    if not gpu and (needy := [name for name in names if getattr(cases[name], "gpu", False)]):
        raise configure.UsageError(f"--only={needy[0]}: needs a CUDA GPU, and torch sees none here")
    return names


def peer_folder(peer: str) -> Path | None:
    """The folder of --peer nanogpt=PATH, which is known to hold a model.py."""
    paths = [word.partition("=")[2] for word in peer.split(",") if word != "transformers"]
    return Path(paths[0]).expanduser().resolve() if paths and paths[0] else None


def other_sides(config: BenchConfig) -> tuple[str, ...]:
    """The sides beside ours and nanoGPT."""
    asked = ("transformers",) if "transformers" in config.peer.split(",") else ()
    return asked if config.quick else (*asked, "limit")


if __name__ == "__main__":
    configure.run_door(main)
