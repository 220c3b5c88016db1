"""The cases of bench.py: beside nanoGPT, alone, and the kernels that a step consists of."""

from experiments.tables import Table, markdown

RESULT = ("bench-amd-epyc-2-cores",)  # the machine whose figures docs/speed.md shows


def beside(result: dict) -> str:
    """This project beside nanoGPT, as that comes on a CPU (float32) and in the fastest of its settings."""
    cases = result["cases"]
    names = ("step-4L128", "step-6L384", "step-48L128", "sample-1", "sample-8")
    rows = [_case(name, cases[name]) for name in names]
    sides = cases["val"]["sides"]
    theirs, ours = sides["nanogpt"], [side for name, side in sides.items() if name != "nanogpt"]
    seconds = sum(side["s"] for side in ours) / len(ours)
    ratio = f"{theirs['s'] / seconds:.2f}x"
    rows.append(["`val`, all training", f"{seconds:.1f} s", f"{theirs['s']:.1f} s", ratio, "", ""])
    losses = ", ".join(f"{side['val_loss']:.3f}" for side in ours)
    head = ["case", "here", "nanoGPT, float32", "ratio", "to its compiled float32", "to its fastest"]
    note = f"\n`val`: nanoGPT ends at {theirs['val_loss']:.3f}, this project, three seeds, at {losses}.\n"
    return markdown(head, rows) + note + origin(cases)


def _case(name: str, case: dict) -> list[str]:
    sides, ratios = case["sides"], case["ratios"]
    theirs = {side: value["median_s"] for side, value in sides.items() if side.startswith("nanogpt")}
    ratio = {side: f"{ratios[f'ours against {side}']['median']:.2f}x" for side in theirs}
    best = min(theirs, key=theirs.get)
    return [
        f"`{name}`",
        f"{sides['ours']['median_s'] * 1e3:,.0f} ms",
        f"{theirs['nanogpt float32'] * 1e3:,.0f} ms",
        ratio["nanogpt float32"],
        ratio.get("nanogpt compiled float32", ""),
        f"{ratio[best]} ({best.removeprefix('nanogpt ')})",
    ]


def scaling(result: dict) -> str:
    """The figures that need no peer."""
    cases = result["cases"]
    fresh, aged = cases["none-pre"]["none_over_pre"].values()
    rows = [
        ["step of `none` over that of `pre`, 48 layers, fresh", f"{fresh:.2f}"],
        ["the same after 300 updates", f"{aged:.2f}"],
        *_starts(cases["first-step"]),
        *_depth(cases["depth"]),
        *_data(cases["data"]),
    ]
    saved = cases["checkpoint"]
    rows.append(["a checkpoint of the 6-layer model", f"{saved['MB']:.0f} MB in {saved['save_s']:.2f} s"])
    rows.append(["probes, share of the demo", f"{cases['probe']['share_of_run']:.1%}"])
    return markdown(["", "measured"], rows) + origin(cases)


def _starts(case: dict) -> list[list[str]]:
    seconds = {side: f"{value['median_s']:.1f} s" for side, value in case["sides"].items()}
    compiled = [f"{case['compiled_by_depth'][layers]['median_s']:.1f} s" for layers in ("12", "96")]
    return [
        ["from start to the end of the first step", f"{seconds['ours']} (nanoGPT {seconds['nanogpt']})"],
        ["the same, compiled, caches empty, 12 and 96 layers", ", ".join(compiled)],
    ]


def _depth(case: dict) -> list[list[str]]:
    layer, state = case["plain"]["bytes"]["per_layer"] / 1e6, case["state_bytes_per_layer"] / 1e6
    share, activations = case["memory_slope_ratio"], case["without_the_state"]
    return [
        [
            "memory of a layer, 12 to 1000 layers, width 64, 1024 tokens",
            f"{layer:.2f} MB, of which {state:.2f} are weights, gradients and AdamW's averages",
        ],
        ["with `--activation_checkpointing`", f"{share:.0%} of that; of the activations {activations:.0%}"],
        ["time of a layer in a step", f"{case['plain']['seconds']['per_layer'] * 1e3:.1f} ms"],
    ]


def _data(case: dict) -> list[list[str]]:
    rows = []
    for name in ("bpe:1024", "char", "byte"):
        speeds = case[name]
        many = next(value for key, value in speeds.items() if key.endswith("cores"))
        cell = f"{speeds['bare_MB_per_s']:.1f}, {speeds['written_MB_per_s_1_core']:.1f}, {many:.1f} MB/s"
        rows.append([f"data preparation, `{name}`: bare tokenizer, prepared on one core, on two", cell])
    return rows


def kernels(result: dict) -> str:
    """Matrix products, attention and GELU in both precisions."""
    case = result["cases"]["kernels"]
    rows = []
    for shape, speed in case["matrix products, GFLOP/s"].items():
        rows.append([f"product {shape}", "GFLOP/s", *(f"{speed[d]:.0f}" for d in ("float32", "bfloat16"))])
    for key, part in (
        ("attention forward + backward, ms", "attention"),
        ("GELU forward + backward, ms", "GELU"),
    ):
        milliseconds = case[key]
        for shape in dict.fromkeys(name.rpartition(" ")[0] for name in milliseconds):
            for way in milliseconds[f"{shape} float32"]:
                cells = [f"{milliseconds[f'{shape} {dtype}'][way]:.1f}" for dtype in ("float32", "bfloat16")]
                rows.append([f"{part} {shape}, {way.replace(chr(39) + 's', ' kernel')}", "ms", *cells])
    head = ["forward + backward, but for the products", "", "float32", "bfloat16"]
    return markdown(head, rows) + origin({"kernels": case})


def optimizers(result: dict) -> str:
    """One step of each optimizer."""
    case = result["cases"]["kernels"]
    milliseconds = case["optimizer step, ms"]
    names = list(next(iter(milliseconds.values())))
    rows = [[name, *(f"{column[name]:.1f}" for column in milliseconds.values())] for name in names]
    return markdown(["optimizer step, ms", *milliseconds], rows) + origin({"kernels": case})


def origin(cases: dict) -> str:
    """Where the figures of some cases come from, as the line under a table."""
    facts = [case["facts"] for case in cases.values()]
    days = ", ".join(sorted({fact["date"][:10] for fact in facts}))
    first = facts[0]
    machine = f"{first['cpu']}, {first['threads']} threads, {', '.join(first['cpu_bfloat16'])}"
    return f"\n`python bench.py --peer nanogpt=PATH`, {days}, {machine}, torch {first['torch']}\n"


TABLES = {
    "beside": Table(beside, RESULT),
    "scaling": Table(scaling, RESULT),
    "kernels": Table(kernels, RESULT),
    "optimizers": Table(optimizers, RESULT),
}
