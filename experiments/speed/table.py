"""The cases of bench.py with a column for each machine: beside others, alone, and the kernels of a step."""

import re
from collections.abc import Callable
from pathlib import Path

from experiments.speed.growth import Column, growth
from experiments.tables import Table, group_by, markdown, over_seeds
from experiments.tables import origin as made_by

RESULTS = tuple(sorted(path.stem for path in Path(__file__).parent.glob("bench-*.json")))  # one a machine
STEPS = ("step-4L128", "step-4L128-50k", "step-6L384", "step-48L128", "gpt2", "48L384")
BESIDE = (*STEPS, "sample-1", "sample-8", "val", "shakespeare")


def by_machine(head: list[str], measured: Callable[[dict], Column], names: tuple[str, ...]) -> Table:
    """A table with a column for each machine that has measured one of some cases; rows of one label are one.

    Args:
        head: over the labels.
        measured: from those cases of one machine to its column. A cell may be empty.
        names: the cases.
    """

    def make(*results: dict) -> str:
        machines = [{name: r["cases"][name] for name in names if name in r["cases"]} for r in results]
        machines = [cases for cases in machines if cases]
        if not machines:
            return "Not measured yet.\n"
        columns = [measured(cases) for cases in machines]
        labels = list(dict.fromkeys(label for cells in columns for label in cells if cells[label]))
        parts = [label[0] for label in labels]
        labels.sort(key=lambda label: parts.index(label[0]))  # what a later machine alone has joins its case
        rows = [[*label, *(cells.get(label, "") for cells in columns)] for label in labels]
        origins = "; ".join(map(origin, machines))
        return markdown([*head, *map(name_of, machines)], rows) + f"\n{origins}\n"

    return Table(make, RESULTS)


def name_of(cases: dict) -> str:
    """The machine of some cases, as the head of its column."""
    facts = next(iter(cases.values()))["facts"]
    cpu = [facts["cpu"], f"{facts['threads']} threads", *facts["cpu_bfloat16"]]
    return facts.get("gpu") or ", ".join(cpu)


def origin(cases: dict) -> str:
    """Where the figures of a machine come from."""
    facts = [case["facts"] for case in cases.values()]
    commands = dict.fromkeys(re.sub(r" --(only|out)[= ]\S+", "", fact["command"]) for fact in facts)
    days, versions = ({fact["date"][:10] for fact in facts}, {f"torch {fact['torch']}" for fact in facts})
    told = [*(f"`{command}`" for command in commands), *sorted(days), *sorted(versions)]
    return f"{name_of(cases)}: {', '.join(told)}"


def beside(cases: dict) -> Column:
    """This project beside others: of each, its plain float32 and the fastest of its settings."""
    trained = {"val": _val, "shakespeare": _shakespeare}
    made = {
        name: trained[name](case["sides"]) if name in trained else _case(case) for name, case in cases.items()
    }
    return {(f"`{name}`", what): cell for name, cells in made.items() for what, cell in cells.items()}


def _case(case: dict) -> dict[str, str]:
    sides, ratios = case["sides"], case["ratios"]
    against = {side: ratios[f"ours against {side}"] for side in sides if f"ours against {side}" in ratios}
    cells = {"time here": _seconds(sides["ours"]), "here in float32": _ratio(against.get("ours float32"))}
    cells["here without CUDA graphs"] = _ratio(against.get("ours without graphs"))
    for peer, name in (("nanogpt", "nanoGPT"), ("transformers", "transformers")):
        theirs = {side: value["median_s"] for side, value in sides.items() if side.startswith(peer)}
        best = min(theirs, key=theirs.get, default="")
        setting = f", {best.removeprefix(peer).strip()}" if best else ""
        cells[f"{name}, float32"] = _ratio(against.get(f"{peer} float32"))
        cells[f"{name}, its fastest"] = _ratio(against.get(best)) + setting
    cells["limit, share of ours"] = _ratio(against.get("limit"), share=True)
    shares = {side: value["mfu"] for side, value in sides.items() if value.get("mfu")}
    told = [f"{shares[side]:.0%}" for side in ("ours", "limit") if side in shares]
    return cells | {"share of the peak (MFU): ours, the bare products alone": ", ".join(told)}


def _seconds(side: dict) -> str:
    return f"{side['median_s'] * 1e3:,.0f} ms ± {side['spread']:.0%}"


def _ratio(ratio: dict | None, share: bool = False) -> str:
    """The ratio of a pair and its range over the turns; none where the turns disagree."""
    if ratio is None:
        return ""
    least, median, most = (
        f"{ratio[key]:.0%}" if share else f"{ratio[key]:.2f}" for key in ("least", "median", "most")
    )
    judged = "noisy" if ratio["noisy"] else median + "x" * (not share)
    return f"{judged} ({least} to {most})"


def _val(sides: dict) -> dict[str, str]:
    """All training of the small Shakespeare models: seconds over the seeds, the ratios to their least,
    mean and most, and the losses."""
    ours = [side for name, side in sides.items() if name != "nanogpt"]
    seconds = [side["s"] for side in ours]
    mean = sum(seconds) / len(seconds)
    cells = {"time here": f"{mean:.1f} s ({min(seconds):.1f} to {max(seconds):.1f})"}
    cells["loss here, by seed"] = ", ".join(f"{side['val_loss']:.3f}" for side in ours)
    if theirs := sides.get("nanogpt"):
        ends = [f"{theirs['s'] / s:.2f}" for s in (max(seconds), min(seconds))]
        cells["nanoGPT, float32"] = f"{theirs['s'] / mean:.2f}x ({ends[0]} to {ends[1]})"
        cells["nanoGPT, loss"] = f"{theirs['val_loss']:.3f}"
    return cells


def _shakespeare(sides: dict) -> dict[str, str]:
    """A GPU's training of the small Shakespeare models: seconds until the best losses of both, by seed."""
    ours = [side for name, side in sides.items() if name != "nanogpt"]
    cells = {
        "time here, all updates, by seed, s": ", ".join(f"{side['s']:.1f}" for side in ours),
        "until val 1.4697, by seed, s": ", ".join(_when(side["curve"], 1.4697) for side in ours),
        "best val here, by seed": ", ".join(f"{side['best_val_loss']:.3f}" for side in ours),
    }
    if theirs := sides.get("nanogpt"):
        best = theirs["best_val_loss"]
        at = next(seconds for _, seconds, loss in theirs["curve"] if loss == best)
        cells["nanoGPT, compiled bfloat16: its best val"] = f"{best:.3f} after {at:.1f} s"
        cells["nanoGPT: updates made, their time"] = f"{theirs['step']:,}, {theirs['s']:.1f} s"
        until = [_when(side["curve"], best, at) for side in ours]
        cells["until nanoGPT's best val, share of its time"] = ", ".join(until)
    return cells


def _when(curve: list, goal: float, unit: float = 1.0) -> str:
    """When a loss was reached, in so many seconds."""
    seconds = next((seconds for _, seconds, loss in curve if loss <= goal), None)
    return "never" if seconds is None else f"{seconds / unit:.{1 if unit == 1 else 2}f}"


def scaling(cases: dict) -> Column:
    """The figures that need no peer."""
    return {(label,): cell for name, case in cases.items() for label, cell in ALONE[name](case).items()}


def _none_pre(case: dict) -> dict[str, str]:
    label = "step of `none` over that of `pre`, 48 layers"
    return {f"{label}, {when}": _ratio(ratio) for when, ratio in case["none_over_pre"].items()}


def _added(case: dict) -> dict[str, str]:
    return {
        f"step with {kind} over that without, {shape}": _ratio(ratio)
        for shape, kinds in case["over_plain"].items()
        for kind, ratio in kinds.items()
    }


def _programs(case: dict) -> dict[str, str]:
    cells = {"`import torch` alone": _start(case["import_torch"], 2)}
    for name, ratio in case["over_import_torch"].items():
        cells[f"{name}, beside `import torch`"] = f"{_start(case['seconds'][name], 2)}, {_ratio(ratio)}"
    return cells


def _demo(case: dict) -> dict[str, str]:
    return {"`make demo`, without the installation": f"{case['s']:.0f} s" if "s" in case else ""}


def _starts(case: dict) -> dict[str, str]:
    sides = case["sides"]
    peer = f" (nanoGPT {_start(sides['nanogpt'])})" if "nanogpt" in sides else ""
    cells = {"from start to the end of the first step": _start(sides["ours"]) + peer}
    if compiled := case.get("compiled_by_depth"):
        label = f"the same, compiled, caches empty, {' and '.join(compiled)} layers"
        cells[label] = ", ".join(map(_start, compiled.values()))
    return cells


def _start(side: dict, digits: int = 1) -> str:
    return f"{side['median_s']:.{digits}f} s ± {side['spread']:.0%}"


def _data(case: dict) -> dict[str, str]:
    cells = {}
    for name in ("bpe:1024", "char", "byte"):
        speeds = [f"{value:.1f}" for key, value in case[name].items() if "MB_per_s" in key]
        label = f"data preparation, `{name}`: bare tokenizer, prepared on one core, on all"
        cells[label] = f"{', '.join(speeds)} MB/s{_spread(case)}"
    return cells


def _checkpoint(case: dict) -> dict[str, str]:
    taken = f"{case['MB']:.0f} MB in {case['save_s']:.2f} s{_spread(case)}"
    return {"a checkpoint of the 6-layer model": taken}


def _probe(case: dict) -> dict[str, str]:
    return {"probes, share of the demo": f"{case['share_of_run']:.1%}{_spread(case)}"}


def _loss(case: dict) -> dict[str, str]:
    """How many times as long the loss takes with its logits held."""
    shape = f"{case['vocabulary']:,} tokens at width {case['width']}"
    label = f"loss over {shape}, logits held over a chunk at a time"
    return {f"{label}, {dtype}": _ratio(ratio) for dtype, ratio in case["held_over_ours"].items()}


def _thousand(case: dict) -> dict[str, str]:
    ours = case["sides"]["ours"]
    label = "a step of 1000 layers, width 256, of 2048 tokens"
    return {
        label: _seconds(ours),
        f"{label}, over the sum of its kernels": f"{ours['over_kernels']:.2f}",
    }


def _spread(case: dict) -> str:
    """Half the distance of the quartiles of the case's most uncertain time, relative to its median."""
    return f" ± {case['largest_spread']:.0%}"


ALONE = {
    "none-pre": _none_pre,
    "added": _added,
    "first-step": _starts,
    "programs": _programs,
    "demo": _demo,
    "data": _data,
    "checkpoint": _checkpoint,
    "probe": _probe,
    "loss": _loss,
    "1000L": _thousand,
}


def kernels(cases: dict) -> Column:
    """Matrix products, attention and GELU in both precisions, forward and backward but for the products."""
    case = cases["kernels"]
    cells = {}
    for shape, speed in case["matrix products, GFLOP/s"].items():
        for dtype in ("float32", "bfloat16"):
            cells[f"product {shape}", f"{dtype}, GFLOP/s"] = _typical(*speed[dtype], 0)
    for part in ("attention", "GELU"):
        for name, ways in case[f"{part} forward + backward, ms"].items():
            shape, _, dtype = name.rpartition(" ")
            for way, taken in ways.items():
                label = f"{part} {shape}, {way.replace(chr(39) + 's', ' kernel')}"
                cells[label, f"{dtype}, ms"] = _typical(*taken)
    return cells


def _typical(median: float, spread: float, digits: int = 1) -> str:
    return f"{median:.{digits}f} ± {spread:.0%}"


def optimizers(cases: dict) -> Column:
    """One step of each optimizer."""
    models = cases["kernels"]["optimizer step, ms"]
    return {
        (name, model): _typical(*taken) for model, steps in models.items() for name, taken in steps.items()
    }


def muon_rates(result: dict) -> str:
    """Losses of the Shakespeare recipe of a GPU by Muon's rate, over seeds."""
    rows = [
        [f"{rate:g}", *(over_seeds(runs, split) for split in ("train", "val"))]
        for (rate,), runs in sorted(group_by(result["runs"], "muon_lr").items())
    ]
    return markdown(["`muon_lr`", "train loss, three seeds", "val loss"], rows) + made_by(result)


TABLES = {
    "beside": by_machine(["case", ""], beside, BESIDE),
    "scaling": by_machine([""], scaling, tuple(ALONE)),
    "growth": by_machine(["", ""], growth, ("growth",)),
    "kernels": by_machine(["forward + backward, but for the products", ""], kernels, ("kernels",)),
    "muon_rates": Table(muon_rates, ("shakespeare_muon_lr",)),
    "optimizers": by_machine(["optimizer step, ms", "model"], optimizers, ("kernels",)),
}
