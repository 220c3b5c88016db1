"""The cases of bench.py, a table for each machine: beside others, alone, and the kernels of a step."""

import re
from collections.abc import Callable
from pathlib import Path

from experiments.tables import Table, markdown

RESULTS = tuple(sorted(path.stem for path in Path(__file__).parent.glob("bench-*.json")))  # one a machine
BESIDE = ("step-4L128", "step-6L384", "step-48L128", "gpt2", "48L384", "sample-1", "sample-8")


def of_machines(make: Callable[[dict], str], needs: str) -> Callable[..., str]:
    """A table for each machine whose result has a case, one after the other.

    Args:
        make: from the cases of one machine to Markdown.
        needs: the case.
    """

    def tables(*results: dict) -> str:
        made = [make(result["cases"]) for result in results if needs in result["cases"]]
        return "\n".join(made) or "Not measured yet.\n"

    return tables


def beside(cases: dict) -> str:
    """This project beside others: of each, its plain float32 and the fastest of its settings."""
    rows = [_case(name, cases[name]) for name in BESIDE if name in cases]
    head = ["case", "here", "here in float32", "nanoGPT, float32", "nanoGPT, its fastest"]
    head += ["transformers, float32", "transformers, its fastest", "limit, of ours"]
    shown = {name: cases[name] for name in BESIDE if name in cases}
    note = ""
    if val := cases.get("val"):
        rows.append(_val(val["sides"]))
        note, shown = _val_note(val["sides"]), shown | {"val": val}
    return markdown(head, rows) + note + origin(shown)


def _case(name: str, case: dict) -> list[str]:
    sides, ratios = case["sides"], case["ratios"]
    against = {side: ratios[f"ours against {side}"] for side in sides if f"ours against {side}" in ratios}
    cells = [f"`{name}`", _seconds(sides["ours"]), _ratio(against.get("ours float32"))]
    for peer in ("nanogpt", "transformers"):
        theirs = {side: value["median_s"] for side, value in sides.items() if side.startswith(peer)}
        best = min(theirs, key=theirs.get, default="")
        setting = f", {best.removeprefix(peer).strip()}" if best else ""
        cells += [_ratio(against.get(f"{peer} float32")), _ratio(against.get(best)) + setting]
    return [*cells, _ratio(against.get("limit"), share=True)]


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


def _val(sides: dict) -> list[str]:
    """All training of the small Shakespeare models: seconds over the seeds, and the ratios to their least,
    mean and most."""
    seconds = [side["s"] for name, side in sides.items() if name != "nanogpt"]
    mean = sum(seconds) / len(seconds)
    ratio = ""
    if theirs := sides.get("nanogpt"):
        ends = [f"{theirs['s'] / s:.2f}" for s in (max(seconds), min(seconds))]
        ratio = f"{theirs['s'] / mean:.2f}x ({ends[0]} to {ends[1]})"
    here = f"{mean:.1f} s ({min(seconds):.1f} to {max(seconds):.1f})"
    return ["`val`, all training", here, "", ratio, *[""] * 4]


def _val_note(sides: dict) -> str:
    losses = ", ".join(f"{side['val_loss']:.3f}" for name, side in sides.items() if name != "nanogpt")
    theirs = f"nanoGPT ends at {sides['nanogpt']['val_loss']:.3f}, " if "nanogpt" in sides else ""
    return f"\n`val`: {theirs}this project, one seed after the other, at {losses}.\n"


def scaling(cases: dict) -> str:
    """The figures that need no peer."""
    rows = [row for name, make in ALONE.items() if name in cases for row in make(cases[name])]
    return markdown(["", "measured"], rows) + origin({name: cases[name] for name in ALONE if name in cases})


def _none_pre(case: dict) -> list[list[str]]:
    label = "step of `none` over that of `pre`, 48 layers"
    return [[f"{label}, {when}", _ratio(ratio)] for when, ratio in case["none_over_pre"].items()]


def _starts(case: dict) -> list[list[str]]:
    sides = case["sides"]
    peer = f" (nanoGPT {_start(sides['nanogpt'])})" if "nanogpt" in sides else ""
    rows = [["from start to the end of the first step", _start(sides["ours"]) + peer]]
    if compiled := case.get("compiled_by_depth"):
        label = f"the same, compiled, caches empty, {' and '.join(compiled)} layers"
        rows.append([label, ", ".join(map(_start, compiled.values()))])
    return rows


def _start(side: dict) -> str:
    return f"{side['median_s']:.1f} s ± {side['spread']:.0%}"


def _data(case: dict) -> list[list[str]]:
    rows = []
    for name in ("bpe:1024", "char", "byte"):
        speeds = [f"{value:.1f}" for key, value in case[name].items() if "MB_per_s" in key]
        label = f"data preparation, `{name}`: bare tokenizer, prepared on one core, on all"
        rows.append([label, f"{', '.join(speeds)} MB/s{_spread(case)}"])
    return rows


def _checkpoint(case: dict) -> list[list[str]]:
    taken = f"{case['MB']:.0f} MB in {case['save_s']:.2f} s{_spread(case)}"
    return [["a checkpoint of the 6-layer model", taken]]


def _probe(case: dict) -> list[list[str]]:
    return [["probes, share of the demo", f"{case['share_of_run']:.1%}{_spread(case)}"]]


def _spread(case: dict) -> str:
    """Half the distance of the quartiles of the case's most uncertain time, relative to its median."""
    return f" ± {case['largest_spread']:.0%}"


ALONE = {
    "none-pre": _none_pre,
    "first-step": _starts,
    "data": _data,
    "checkpoint": _checkpoint,
    "probe": _probe,
}


def kernels(cases: dict) -> str:
    """Matrix products, attention and GELU in both precisions."""
    case = cases["kernels"]
    rows = []
    for shape, speed in case["matrix products, GFLOP/s"].items():
        cells = [_typical(*speed[dtype], 0) for dtype in ("float32", "bfloat16")]
        rows.append([f"product {shape}", "GFLOP/s", *cells])
    for key, part in (
        ("attention forward + backward, ms", "attention"),
        ("GELU forward + backward, ms", "GELU"),
    ):
        milliseconds = case[key]
        for shape in dict.fromkeys(name.rpartition(" ")[0] for name in milliseconds):
            for way in milliseconds[f"{shape} float32"]:
                cells = [
                    _typical(*milliseconds[f"{shape} {dtype}"][way]) for dtype in ("float32", "bfloat16")
                ]
                rows.append([f"{part} {shape}, {way.replace(chr(39) + 's', ' kernel')}", "ms", *cells])
    head = ["forward + backward, but for the products", "", "float32", "bfloat16"]
    return markdown(head, rows) + origin({"kernels": case})


def _typical(median: float, spread: float, digits: int = 1) -> str:
    return f"{median:.{digits}f} ± {spread:.0%}"


def optimizers(cases: dict) -> str:
    """One step of each optimizer."""
    case = cases["kernels"]
    milliseconds = case["optimizer step, ms"]
    names = list(next(iter(milliseconds.values())))
    rows = [[name, *(_typical(*column[name]) for column in milliseconds.values())] for name in names]
    return markdown(["optimizer step, ms", *milliseconds], rows) + origin({"kernels": case})


def origin(cases: dict) -> str:
    """Where the figures of some cases come from, as the line under a table."""
    facts = [case["facts"] for case in cases.values()]
    days = ", ".join(sorted({fact["date"][:10] for fact in facts}))
    commands = dict.fromkeys(re.sub(r" --(only|out)[= ]\S+", "", fact["command"]) for fact in facts)
    first = facts[0]
    machine = f"{first['cpu']}, {first['threads']} threads, {', '.join(first['cpu_bfloat16'])}"
    return f"\n{', '.join(f'`{c}`' for c in commands)}, {days}, {machine}, torch {first['torch']}\n"


FIGURES = {  # name -> what it is, its unit, and what a unit of it is
    "step": ("a step", "s", 1),
    "start": ("from the start of the program to the end of the first step", "s", 1),
    "look": ("one look of the probes", "s", 1),
    "bytes": ("memory held at most", "MB", 1e6),
    "bytes_probed": ("the same with a look of the probes", "MB", 1e6),
    "bytes_recomputing": ("memory with `--activation_checkpointing`", "MB", 1e6),
    "reading": ("reading the runs", "s", 1),
    "table": ("the table of compare.py", "s", 1),
    "page": ("writing the page", "s", 1),
    "page_bytes": ("size of the page", "MB", 1e6),
}


def growth(cases: dict) -> str:
    """What grows with the depth, and what with the number of runs, each with its line."""
    case = cases["growth"]
    tables = _grown(case["depth"], "layers", "layer") + "\n" + _grown(case["runs"], "runs", "run")
    layer, state = case["depth"]["figures"]["bytes"]["slope"] / 1e6, case["state_bytes_per_layer"] / 1e6
    share, activations = case["memory_slope_ratio"], case["without_the_state"]
    note = (
        f"\nTimes are {case['clock']}. Of the {layer:.2f} MB of a layer (1024 tokens, width 64), {state:.2f} "
    )
    note += "are weights, gradients and AdamW's averages. With `--activation_checkpointing` a layer takes "
    note += f"{share:.0%} of all, and {activations:.0%} of the activations.\n"
    return tables + note + origin({"growth": case})


def _grown(part: dict, many: str, one: str) -> str:
    rows = []
    for key, figure in part["figures"].items():
        name, unit, size = FIGURES[key]
        values, start, slope = figure["values"], figure["at_zero"], figure["slope"]
        sign = "-" if slope < 0 else "+"
        fitted = f"{_digits(start / size)} {sign} {_digits(abs(slope) / size)} for each {one}"
        rows.append([f"{name}, {unit}", *(_digits(value / size) for value in values), fitted])
        rows[-1].append(f"{figure['largest_residual']:.0%}")
    return markdown([many, *map(str, part["at"]), "line", "largest residual"], rows)


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


TABLES = {
    "beside": Table(of_machines(beside, "step-4L128"), RESULTS),
    "scaling": Table(of_machines(scaling, "none-pre"), RESULTS),
    "growth": Table(of_machines(growth, "growth"), RESULTS),
    "kernels": Table(of_machines(kernels, "kernels"), RESULTS),
    "optimizers": Table(of_machines(optimizers, "kernels"), RESULTS),
}
