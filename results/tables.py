"""Writes the tables of README.md and docs/ from the JSON files beside this script, so that none drifts.

python results/tables.py            rewrite what stands between <!-- table NAME --> and <!-- end -->
python results/tables.py --check    change nothing; exit code 1 when a page and the results differ
"""

import argparse
import json
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PAGES = ("README.md", "docs/residuals.md", "docs/reliability.md", "docs/speed.md")
BENCH = "bench-amd-epyc-2-cores"  # the machine whose figures docs/speed.md shows
BLOCK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
ARMS = {"pre": "with skips (`pre`)", "none": "without (`none`)", "silent": "no blocks (`silent`)"}


class Missing(Exception):
    """A results file that has not been measured yet."""


def load(name: str) -> dict:
    if not (HERE / f"{name}.json").exists():
        raise Missing(name)
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def origin(kept: dict) -> str:
    """Where a table comes from, as the line under it."""
    date, machine = kept["date"], kept["machine"]
    return f"\n`{kept['command'].replace('compare.py', 'python compare.py', 1)}`, {date}, {machine}\n"


def pair(name: str) -> str:
    """Both arms of a depth, and what embeddings and head learn alone: losses and the gaps between them."""
    kept = load(name)
    (silent,) = load(f"{name}_silent")["runs"]
    bigram, unigram = (kept["baselines_nats"][line] for line in ("bigram", "unigram"))
    runs = sorted(kept["runs"], key=lambda run: run["residual"] != "pre")
    rows = [
        [
            ARMS[run.get("residual", "silent")],
            f"{run['train/loss']:.3f}",
            f"{run['val/loss']:.3f}",
            f"{run['val/loss'] - unigram['val']:+.3f}",
            f"{run['val/loss'] - bigram['val']:+.3f}",
            f"{run['val/loss'] - silent['val/loss']:+.3f}",
        ]
        for run in (*runs, silent)
    ]
    head = ["", "train loss", "val loss", "to the unigram baseline", "to the bigram baseline", "to `silent`"]
    said = "\nNats per token. "
    said += f"The unigram baseline is {unigram['val']:.3f}, the bigram baseline {bigram['val']:.3f}.\n"
    return markdown(head, rows) + said + origin(kept)


def by_seed(runs: list[dict], figure: str) -> list[str]:
    """Mean of some runs that differ in their seed, and their spread, as two cells."""
    values = [run[figure] for run in runs]
    return [f"{sum(values) / len(values):.3f}", f"{min(values):.3f} to {max(values):.3f}"]


def grids(kept: dict, *keys: str) -> dict[tuple, list[dict]]:
    """Runs by the values of some settings."""
    found: dict[tuple, list[dict]] = {}
    for run in kept["runs"]:
        found.setdefault(tuple(run[key] for key in keys), []).append(run)
    return found


RESCUE = {
    "plain": "without skips, standard start",
    "start": "without skips, init `self`",
    "skips": "with skips",
    "attention-skip-only": "skips around attention only",
    "mlp-skip-only": "skips around the MLP only",
    "silent": "no blocks (`silent`)",
}


def named(kept: dict, name: str) -> list[dict]:
    """The runs of one grid; its name is followed by their wiring."""
    return [run for run in kept["runs"] if run["run"].startswith(f"{name}-{run['residual']}")]


def rescue() -> str:
    """12 layers, slow blocks: what a start and each kind of skip are worth, over three seeds."""
    kept = load("rescue")
    bigram, unigram = (kept["baselines_nats"][line]["val"] for line in ("bigram", "unigram"))
    silent = sum(run["val/loss"] for run in named(kept, "silent")) / len(named(kept, "silent"))
    rows = []
    for name, says in RESCUE.items():
        runs = named(kept, name)
        mean = sum(run["val/loss"] for run in runs) / len(runs)
        gaps = [f"{mean - line:+.3f}" for line in (unigram, bigram, silent)]
        rows.append([says, *by_seed(runs, "val/loss"), *gaps])
    head = ["12 layers", "val loss, three seeds", "from, to"]
    head += ["to the unigram baseline", "to the bigram baseline", "to `silent`"]
    return markdown(head, rows) + origin(kept)


def rescue_rates() -> str:
    """The same arms over the rate of their blocks, one seed: Muon, then AdamW."""
    kept = load("rescue")
    muon = sorted({run["muon_lr"] for run in kept["runs"] if run["optimizer"] == "muon"})
    adamw = sorted({run["block_lr"] for run in kept["runs"] if run["optimizer"] == "adamw"})
    rows = []
    for name, says in RESCUE.items():
        runs = [
            run
            for grid in (name, f"{name}-rates", f"{name}-adamw")
            for run in named(kept, grid)
            if run["seed"] == 1 and name != "silent"
        ]
        at = {(run["optimizer"], run["muon_lr"], run["block_lr"]): f"{final(run):.3f}" for run in runs}
        cells = [at.get(("muon", rate, 0.0), "") for rate in muon]
        cells += [next((v for (o, _, r), v in at.items() if (o, r) == ("adamw", rate)), "") for rate in adamw]
        rows += [[says, *cells]] if runs else []
    head = ["", *(f"Muon {rate:g}" for rate in muon), *(f"AdamW {rate:g}" for rate in adamw)]
    return markdown(head, rows)


def over_depth(name: str, figure: str, arms: dict[tuple, str]) -> str:
    """Mean loss of three seeds, and their spread, over depth; one row for each (residual, init)."""
    kept = load(name)
    key = ("residual", "init") if any("init" in run for run in kept["runs"]) else ("residual",)
    depths = sorted({run["n_layer"] for run in kept["runs"] if run["residual"] != "silent"})
    rows = []
    for arm, says in arms.items():
        cells = []
        for depth in depths:
            runs = grids(kept, *key, "n_layer").get((*arm, depth), [])
            cells.append("{} ({})".format(*by_seed(runs, figure)) if runs else "")
        rows.append([says, *cells])
    said = ""
    if silent := grids(kept, "residual").get(("silent",)):
        said = "\n`silent`, the same at every depth: {} ({}).\n".format(*by_seed(silent, figure))
    return markdown(["layers", *map(str, depths)], rows) + said + origin(kept)


DEPTH_ARMS = {
    ("depth_mup",): "with skips, `depth_mup`",
    ("pre",): "with skips (`pre`)",
    ("none",): "without (`none`)",
}
DEGRADATION_ARMS = {
    ("pre", "wiring"): "with skips (`pre`)",
    ("none", "self"): "without, init `self`",
    ("none", "wiring"): "without, standard start",
}


def unscaled() -> str:
    """The demo's pair with the same start for both: the skip alone differs."""
    kept = load("unscaled")
    rows = [
        [ARMS[run["residual"]], f"{run['train/loss']:.3f}", f"{run['val/loss']:.3f}"]
        for run in sorted(kept["runs"], key=lambda run: run["residual"] != "pre")
    ]
    return markdown(["`--init=unscaled`", "train loss", "val loss"], rows) + origin(kept)


def reach() -> str:
    """What the probes saw in the demo: at the start, after ten updates, at the end."""
    kept = load("laptop")
    rows = []
    for run in sorted(kept["runs"], key=lambda run: run["residual"] != "pre"):
        for seen in run["probed"]:
            first, last = seen["gradient_norm"]
            rows.append(
                [
                    f"`{run['residual']}`",
                    f"{seen['step']}",
                    f"{first:.1e}",
                    f"{last:.1e}",
                    f"{seen['position0_share']:.0%}",
                    f"{seen['qk_gradient'][0]:.1e}",
                    f"{seen['token_diversity']:.1e}",
                ]
            )
    head = [
        "arm",
        "step",
        "gradient at layer 0",
        "at the last",
        "on the first token",
        "Q/K gradient, layer 0",
        "diversity at the end",
    ]
    return markdown(head, rows) + origin(kept)


def rates() -> str:
    """Final validation loss over the learning rate, for each arm and depth: the whole curve."""
    kept = load("study")
    cells: dict[tuple, dict[float, float]] = {}
    for run in kept["runs"]:
        if run["run"].startswith("lr-"):
            curve = cells.setdefault((run["residual"], run["n_layer"]), {})
            curve[run["learning_rate"]] = final(run)
    columns = sorted({rate for curve in cells.values() for rate in curve})
    rows = []
    for (arm, layers), curve in sorted(cells.items(), key=lambda item: (item[0][0] != "pre", item[0][1])):
        best = min(curve.values())
        shown = [f"{curve[r]:.2f}" if curve[r] > best else f"**{curve[r]:.2f}**" for r in columns]
        rows.append([f"`{arm}`, {layers} layers", *shown])
    unigram, bigram = (kept["baselines_nats"][line]["val"] for line in ("unigram", "bigram"))
    said = f"\nThe unigram baseline is {unigram:.3f}, the bigram baseline {bigram:.3f}.\n"
    return markdown(["", *(f"{rate:g}" for rate in columns)], rows) + said + origin(kept)


def train_depth() -> str:
    """Final training loss of each arm over depth, at the best of its learning rates."""
    best: dict[tuple, dict] = {}
    for run in load("study")["runs"]:
        key = (run["residual"], run["n_layer"])
        if run["run"].startswith(("lr-", "deep-")):
            best[key] = min(run, best.get(key, run), key=lambda run: run["train/loss"])
    depths = sorted({depth for _, depth in best})
    rows = [
        [
            ARMS[arm],
            *(f"{best[arm, n]['train/loss']:.3f} ({best[arm, n]['learning_rate']:g})" for n in depths),
        ]
        for arm in ("pre", "none")
    ]
    return markdown(["layers", *map(str, depths)], rows)


def final(run: dict) -> float:
    """The loss that a run ended on; one that diverged has none."""
    return float("inf") if run["val/loss"] is None else run["val/loss"]


def seeds() -> str:
    """Mean and spread over three fresh seeds, around the best learning rate."""
    groups: dict[tuple, list[float]] = {}
    for run in load("study")["runs"]:
        if run["run"].startswith("seeds-"):
            groups.setdefault((run["residual"], run["learning_rate"]), []).append(final(run))
    rows = [
        [
            f"`{arm}`",
            f"{rate:g}",
            f"{sum(losses) / len(losses):.3f}",
            f"{min(losses):.3f} to {max(losses):.3f}",
        ]
        for (arm, rate), losses in sorted(groups.items(), key=lambda item: (item[0][0] != "pre", item[0][1]))
    ]
    return markdown(["arm", "learning rate", "mean of three seeds", "from, to"], rows)


def grid(kept: dict, names: list[str], says) -> list[list[str]]:
    """Rows of the runs whose grid is one of these: what was tried, val loss, gap."""
    bigram = kept["baselines_nats"]["bigram"]["val"]
    rows = []
    for name in names:
        for run in (run for run in kept["runs"] if run["run"].startswith(f"{name}-")):
            rows.append([says(name, run), f"{final(run):.3f}", f"{final(run) - bigram:+.3f}"])
    return rows


def sceptic() -> str:
    """Every other chance that a plain stack was given."""
    kept = load("study")
    said = {
        "warmup": "half of the run is warmup",
        "ten-times": "ten times the updates",
        "sgd": "SGD, learning rate {learning_rate:g}",
        "muon": "Muon, learning rate {learning_rate:g}",
        "adam-eps": "Adam's eps 1e-16",
        "init": "{init} init",
        "norm-eps": "norm eps 1e-12",
        "fp64": "float64",
        "untied": "head not tied",
        "attention-skip-only": "skips around attention only",
        "mlp-skip-only": "skips around the MLP only",
        "dose": "{residual_scale:g} x + F(N(x))",
        "control": "repaired, no skip: `identity_start`",
    }
    rows = grid(kept, list(said), lambda name, run: said[name].format(**run))
    return markdown(["tried", "val loss", "to the bigram baseline"], rows)


def wirings() -> str:
    """All wirings at 12 layers: 300 updates at one rate, three seeds, and for the slow ones 600."""
    kept = load("wirings")
    bigram = kept["baselines_nats"]["bigram"]["val"]
    groups: dict[str, dict[str, list[dict]]] = {"short": {}, "long": {}}
    for run in kept["runs"]:
        groups[run["run"].split("-")[0]].setdefault(run["residual"], []).append(run)
    rows = []
    for name, runs in groups["short"].items():
        mean, spread = by_seed(runs, "val/loss")
        best = min(groups["long"].get(name, []), key=final, default=None)
        after = f"{final(best) - bigram:+.3f} (learning rate {best['learning_rate']:g})" if best else ""
        rows.append([f"`{name}`", mean, spread, f"{float(mean) - bigram:+.3f}", after])
    head = [
        "wiring",
        "val loss, three seeds",
        "from, to",
        "to the bigram baseline",
        "to it after 600 updates",
    ]
    return markdown(head, sorted(rows, key=lambda cells: cells[1])) + origin(kept)


def paths() -> str:
    """The gradient at layer 0 of the demo's models, by the number of branches passed."""
    arms = {arm: load(f"autopsy-{arm}")["paths"] for arm in ("pre", "none")}
    chosen = [0, 1, 2, 4, 8, 16, 32, len(arms["pre"]) - 1]
    rows = [[ARMS[arm], *(f"{norms[k]:.1e}" for k in chosen)] for arm, norms in arms.items()]
    return markdown(["branches passed", *map(str, chosen)], rows)


def lesions() -> str:
    """What it costs to take one block out of the demo's model with skips."""
    layers = load("autopsy-pre")["layers"]
    chosen = [0, 1, 2, 4, 8, 12, 16, 20, len(layers) - 1]
    rows = [["rise of the loss, nats", *(layers[k]["without block"] for k in chosen)]]
    return markdown(["block taken out", *map(str, chosen)], rows)


def torture() -> str:
    """What was done to the programs, what must hold, and what was counted."""
    kept = load("torture")
    aside = {"command", "date", "machine", "torch", "git_commit", "seconds"}
    rows = []
    for name, (fault, holds) in FAULTS.items():
        figures = {key: value for key, value in kept.get(name, {}).items() if key not in aside}
        said = "; ".join(f"{key}: {_plain(value)}" for key, value in figures.items())
        rows.append([fault, holds, said or f'not measured yet: `python -m tests.torture --row "{name}"`'])
    dates = ", ".join(sorted({row["date"] for row in kept.values()}))
    machines = "; ".join(sorted({row["machine"] for row in kept.values()}))
    said = f"\n`python -m tests.torture`, {dates}, {machines}\n"
    return markdown(["fault", "must hold", "measured"], rows) + said


def _plain(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def beside() -> str:
    """Ours beside nanoGPT, as it comes on a CPU (float32) and in the fastest of its settings."""
    cases = load(BENCH)["cases"]
    rows = []
    for name in ("step-4L128", "step-6L384", "step-48L128", "sample-1", "sample-8"):
        sides = cases[name]["sides"]
        theirs = {side: kept["median_s"] for side, kept in sides.items() if side.startswith("nanogpt")}
        best = min(theirs, key=theirs.get)
        ratio = {side: f"{cases[name]['ratios'][f'ours against {side}']['median']:.2f}x" for side in theirs}
        rows.append(
            [
                f"`{name}`",
                f"{sides['ours']['median_s'] * 1e3:,.0f} ms",
                f"{theirs['nanogpt float32'] * 1e3:,.0f} ms",
                ratio["nanogpt float32"],
                ratio.get("nanogpt compiled float32", ""),
                f"{ratio[best]} ({best.removeprefix('nanogpt ')})",
            ]
        )
    sides = cases["val"]["sides"]
    theirs, ours = sides["nanogpt"], [kept for name, kept in sides.items() if name != "nanogpt"]
    took = sum(kept["s"] for kept in ours) / len(ours)
    rows.append(
        ["`val`, all training", f"{took:.1f} s", f"{theirs['s']:.1f} s", f"{theirs['s'] / took:.2f}x", "", ""]
    )
    losses = ", ".join(f"{kept['val_loss']:.3f}" for kept in ours)
    head = ["case", "ours", "nanoGPT, float32", "ratio", "to its compiled float32", "to its fastest"]
    said = f"\n`val`: nanoGPT ends at {theirs['val_loss']:.3f}, ours, three seeds, at {losses}.\n"
    return markdown(head, rows) + said + measured(cases)


def scaling() -> str:
    """Figures of ours that need no peer."""
    cases = load(BENCH)["cases"]
    none, first, depth, data = (cases[name] for name in ("none-pre", "first-step", "depth", "data"))
    fresh, aged = none["none_over_pre"].values()
    compiled = first["compiled_by_depth"]
    starts = {side: kept["median_s"] for side, kept in first["sides"].items()}
    plain, state = depth["plain"]["bytes"]["per_layer"] / 1e6, depth["state_bytes_per_layer"] / 1e6
    rows = [
        ["step of `none` over that of `pre`, 48 layers, fresh", f"{fresh:.2f}"],
        ["the same after 300 updates", f"{aged:.2f}"],
        [
            "from start to the end of the first step",
            f"{starts['ours']:.1f} s (nanoGPT {starts['nanogpt']:.1f} s)",
        ],
        [
            "the same, compiled, caches empty, 12 and 96 layers",
            f"{compiled['12']['median_s']:.1f} s, {compiled['96']['median_s']:.1f} s",
        ],
        [
            "memory of a layer, 12 to 1000 layers, width 64, 1024 tokens",
            f"{plain:.2f} MB, of them {state:.2f} weights, gradients and AdamW",
        ],
        [
            "with `--activation_checkpointing`",
            f"{depth['memory_slope_ratio']:.0%} of that; of the activations {depth['without_the_state']:.0%}",
        ],
        ["seconds of a layer and step", f"{depth['plain']['seconds']['per_layer'] * 1e3:.1f} ms"],
    ]
    for name in ("bpe:1024", "char", "byte"):
        kept = data[name]
        many = next(value for key, value in kept.items() if key.endswith("cores"))
        rows.append(
            [
                f"data preparation, `{name}`: bare tokenizer, prepared on one core, on two",
                f"{kept['bare_MB_per_s']:.1f}, {kept['written_MB_per_s_1_core']:.1f}, {many:.1f} MB/s",
            ]
        )
    rows.append(
        [
            "a checkpoint of the 6-layer model",
            f"{cases['checkpoint']['MB']:.0f} MB in {cases['checkpoint']['save_s']:.2f} s",
        ]
    )
    rows.append(["probes, share of the demo", f"{cases['probe']['share_of_run']:.1%}"])
    return markdown(["", "measured"], rows) + measured(cases)


def measured(cases: dict) -> str:
    """Where the bench's figures come from, as the line under a table."""
    facts = [case["facts"] for case in cases.values()]
    days = sorted({fact["date"][:10] for fact in facts})
    machine = f"{facts[0]['cpu']}, {facts[0]['threads']} threads, {', '.join(facts[0]['cpu_bfloat16'])}"
    return (
        f"\n`python bench.py --peer nanogpt=PATH`, {', '.join(days)}, {machine}, torch {facts[0]['torch']}\n"
    )


def char() -> str:
    """Tiny Shakespeare on a CPU: the fast recipe with three seeds, and all of nanoGPT's 2000 updates."""
    fast, long = load("shakespeare_char_cpu"), load("shakespeare_char_cpu_2000")
    rows = [
        [f"{run['step']:,}", f"{run.get('seed', 1337)}", f"{run['val/loss']:.3f} ± {run['val/loss_se']:.3f}"]
        for run in (*fast["runs"], *long["runs"])
    ]
    return markdown(["updates", "seed", "val loss"], rows) + origin(fast) + origin(long)


TABLES = {
    "beside": beside,
    "scaling": scaling,
    "laptop": lambda: pair("laptop"),
    "deep": lambda: pair("deep"),
    "thousand": lambda: pair("thousand"),
    "llama": lambda: pair("study-llama"),
    "deepllama": lambda: pair("deep_llama"),
    "reach": reach,
    "rates": rates,
    "seeds": seeds,
    "train_depth": train_depth,
    "sceptic": sceptic,
    "unscaled": unscaled,
    "rescue": rescue,
    "rescue_rates": rescue_rates,
    "depth_mup": lambda: over_depth("depth_mup", "val/loss", DEPTH_ARMS),
    "degradation": lambda: over_depth("degradation", "train/loss", DEGRADATION_ARMS),
    "wirings": wirings,
    "paths": paths,
    "lesions": lesions,
    "char": char,
    "torture": torture,
}
# Row of tests/torture -> the fault, and what must hold.
FAULTS = {
    "kill -9": (
        "kill -9 at random instants, at least half of them inside a save",
        "each resume finds a whole checkpoint; rows and final weights are those of the run left alone, bit "
        "for bit, with dropout, accumulation and probes on",
    ),
    "signals": (
        "SIGINT, SIGTERM, SIGUSR1 at random instants",
        "saved within a step, exit code 128 + the signal's number, the command to go on is printed",
    ),
    "disk full": (
        "the disk is full at a random byte of a save",
        "the checkpoint before is whole, one line, exit code 1",
    ),
    "damaged checkpoint": (
        "bits flipped, bytes overwritten, files cut, in every region of every file",
        "found by checksum, named; the one before is taken, never wrong weights",
    ),
    "pickles and paths": (
        "a pickle in the place of any file; names that lead out of a folder",
        "refused, not executed",
    ),
    "not finite": (
        "inf or NaN in the loss, the gradient or the weights at step k",
        "no update, no save; step, sequences and first bad layer are logged; exit code 3",
    ),
    "two processes": (
        "two processes on one run directory",
        "the second is refused while the first lives; the lock of a dead one is not in the way",
    ),
    "other data": (
        "data replaced, overwritten, cut or deleted under a run; ids beyond the vocabulary; another meta",
        "refused, with both hashes or the id and its position",
    ),
    "resume with changes": (
        "--resume with other settings or other data",
        "another model or other data: refused, all differences named; rate and length: allowed and logged",
    ),
    "command lines": (
        "command lines and config files as nobody should write them, generated",
        "exit code 2, every fault named at once, no traceback, no file made or changed",
    ),
    "data preparation": (
        "preparation killed at random instants; one line of 100 MB; links in a loop; a text that changes",
        "no half-made dataset is ever used",
    ),
    "download": (
        "time-out, 404, connection cut, a proxy's page, another file",
        "tried again, then one line that names --input; nothing half-written is kept",
    ),
    "out of memory": (
        "no memory left on the device",
        "one line with what to lower and by how much; the checkpoint before is whole; exit code 1",
    ),
    "soak": (
        "one process, as many updates, evaluations and saves as in a day",
        "memory, files and pace are flat",
    ),
    "no network": (
        "no network, no cache of GPT-2's merges",
        "char and byte work; gpt2 says what to do",
    ),
    "terminals and paths": (
        "40 columns, no terminal, closed output, NO_COLOR, blanks and Unicode in paths, no writable home",
        "works",
    ),
}


def fill(text: str) -> str:
    """A page with its tables made anew."""

    def table(name: str) -> str:
        try:
            return TABLES[name]()
        except Missing as missing:
            return f"Not measured yet: `results/README.md` has the command of `{missing}.json`.\n"

    return BLOCK.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing")
    check, stale = parser.parse_args().check, []
    for name in PAGES:
        page = ROOT / name
        before = page.read_text(encoding="utf-8")
        after = fill(before)
        if after != before:
            stale.append(name)
            if not check:
                page.write_text(after, encoding="utf-8")
    if check and stale:
        raise SystemExit(f"{', '.join(stale)}: not what results/ says; run: python results/tables.py")


if __name__ == "__main__":
    main()
