"""What grows with the depth, and what with the number of runs: a column of docs/speed.md."""

Column = dict[tuple[str, ...], str]  # the labels of a row -> a machine's cell

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


def growth(cases: dict) -> Column:
    """What grows with the depth, and what with the number of runs, each with its line."""
    case = cases["growth"]
    cells = _grown(case["depth"], "layers", "layer") | _grown(case["runs"], "runs", "run")
    recomputed, layer = "a layer with `--activation_checkpointing`", "a layer of 1024 tokens, width 64"
    cells[layer, "weights, gradients and AdamW's averages, MB"] = f"{case['state_bytes_per_layer'] / 1e6:.2f}"
    cells[recomputed, "share of all its memory"] = f"{case['memory_slope_ratio']:.0%}"
    cells[recomputed, "share of its activations"] = f"{case['without_the_state']:.0%}"
    return cells | {("all times", "clock"): case["clock"]}


def _grown(part: dict, many: str, one: str) -> Column:
    cells = {}
    for key, figure in part["figures"].items():
        name, unit, size = FIGURES[key]
        label, start, slope = f"{name}, {unit}", figure["at_zero"], figure["slope"]
        values = "; ".join(_digits(value / size) for value in figure["values"])
        cells[label, f"{', '.join(map(str, part['at']))} {many}"] = values
        line = f"{_digits(start / size)} {'-' if slope < 0 else '+'} {_digits(abs(slope) / size)}"
        cells[label, "line, largest residual"] = f"{line} for each {one}, {figure['largest_residual']:.0%}"
    return cells


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
