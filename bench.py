"""Speed, side by side with a peer's checkout, as ratios inside one run.

    python bench.py --peer nanogpt=../nanoGPT       all cases of this machine, 15 minutes on two CPU cores
    python bench.py --only step-6L384,sample-1      some of them; --list names all
    python bench.py --quick                         a minute or two: does it work, and roughly

The sides run in processes of their own and take turns, A B A B, after a warm-up: what else the machine does
meets both. Printed are medians over the turns, and the ratio of each pair of turns. The result goes to
results/bench-<machine>.json; cases that were not run keep what the file said.
"""

import argparse
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.cases import CASES
from benchmarks.turns import Bench
from reslab import configure, device
from reslab.runlog import git_commit, write_atomically


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", metavar="nanogpt=PATH", help="a checkout to run beside ours")
    parser.add_argument("--only", metavar="CASE,...", help="run these cases only")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    parser.add_argument("--quick", action="store_true", help="fewer turns and smaller cases")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the result goes")
    args = parser.parse_args(words)
    gpu = device.pick_device("auto").startswith("cuda")
    if args.list:
        for name, case in CASES.items():
            print(f"{name:12} {case.__doc__}{' (GPU)' if getattr(case, 'gpu', False) else ''}")
        return 0
    names = choose(args.only, gpu)
    bench = Bench(read_peer(args.peer), args.quick, gpu)
    path = args.out or Path(f"results/bench-{machine_name()}.json")
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"cases": {}}
    for number, name in enumerate(names, 1):
        print(f"[{number}/{len(names)}] {name}: {CASES[name].__doc__}", flush=True)
        case = CASES[name](bench)
        print(bench.table(case), flush=True)
        before["cases"][name] = {"facts": facts(words)} | case
        write_atomically(path, json.dumps(before, indent=1) + "\n")
    print(f"written to {path}")
    return 0


def choose(only: str | None, gpu: bool) -> list[str]:
    """The cases to run: those asked for, or all that this machine can."""
    if only is None:
        return [name for name, case in CASES.items() if gpu or not getattr(case, "gpu", False)]
    names = only.split(",")
    if unknown := [name for name in names if name not in CASES]:
        raise configure.UsageError(f"--only={unknown[0]}: no such case; there are {', '.join(CASES)}")
    if not gpu and (needy := [name for name in names if getattr(CASES[name], "gpu", False)]):
        raise configure.UsageError(f"--only={needy[0]}: needs a CUDA GPU, and torch sees none here")
    return names


def read_peer(word: str | None) -> Path | None:
    """The folder of --peer nanogpt=PATH."""
    if word is None:
        return None
    name, equals, path = word.partition("=")
    if name != "nanogpt" or not equals:
        raise configure.UsageError(f"--peer={word}: must be nanogpt=PATH")
    if not (Path(path) / "model.py").is_file():
        raise configure.UsageError(f"--peer={word}: no model.py in {path}; give a checkout of nanoGPT")
    return Path(path).resolve()


def machine_name() -> str:
    """A short name for the file: the GPU's, or the CPU's and its cores."""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    else:
        name = f"{cpu_name()} {torch.get_num_threads()} cores"
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def cpu_name() -> str:
    named = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return named.get("cpu_name") or platform.processor() or platform.machine()


def facts(words: list[str]) -> dict:
    """Where and how a case was measured."""
    abilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return {
        "command": " ".join(
            ["python bench.py", *(w.split("=")[0] + "=PATH" if "nanogpt=" in w else w for w in words)]
        ),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "git_commit": git_commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "cpu_bfloat16": [key for key in ("avx512_bf16", "amx_bf16") if abilities.get(key)],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    configure.run_door(main)
