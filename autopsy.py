"""A finished model on the table: lesions, logit lens, perturbation, Jacobians, path lengths."""

import copy
import json
from datetime import date
from pathlib import Path

from reslab.report.summary import table
from reslab.run import config as configure
from reslab.run.log import Run, read_run, write_atomically
from reslab.run.options import AutopsyConfig

HELP = """
    python autopsy.py runs/deep

Prints what it finds, and leaves autopsy.json and autopsy.html in the run directory.

Exit codes: 0 done; 1 the disk or the memory is full; 2 what was asked can't be done; 130 Ctrl-C.
"""


def examine(model, dataset, config: AutopsyConfig) -> dict:
    """Every measurement of dissection.py that the model's wiring allows, as one report of plain numbers."""
    from tqdm import tqdm

    from reslab.instruments import dissection

    x, y = dataset.sequences("val", dataset.eval_starts("val", config.sequences))
    few = slice(0, 4)
    report: dict = {"layers": len(model.blocks)}
    exact = copy.deepcopy(model).double()
    tiny, tiny_targets = x[:1, : config.tokens], y[:1, : config.tokens]
    steps = tqdm(total=6, desc="autopsy", unit="part", disable=None)
    if dissection.can_lesion(model):
        report["lesions"] = dissection.lesions(model, x, y, config.draws)
    steps.update()
    report["influence"] = dissection.block_influence(model, x[few], y[few])
    steps.update()
    report["lens"], tokens = dissection.logit_lens(model, x[few], y[few])
    report["lens_text"] = lens_text(dataset.tokenizer, x[0], tokens[:, 0])
    steps.update()
    report["perturbation"] = dissection.perturbation(exact, x[few])
    steps.update()
    if dissection.has_jacobians(model):
        report["jacobians"] = dissection.jacobians(exact, tiny)
        steps.update()
        if dissection.paths_split(model):
            report["paths"] = dissection.path_lengths(exact, tiny, tiny_targets)
    steps.update()
    steps.close()
    return report


def lens_text(tokenizer, inputs, tokens, width: int = 56) -> str:
    """The likeliest next token at each place, layer by layer, under the text that was read."""

    def line(ids) -> str:
        text = tokenizer.decode_bytes(ids.tolist()[:width]).decode("utf-8", "replace")
        return "".join(c if c.isprintable() else "·" for c in text)

    lines = [f"{'read':>8}  {line(inputs)}"]
    return "\n".join(lines + [f"{layer:>8}  {line(row)}" for layer, row in enumerate(tokens)])


def tell(report: dict) -> tuple[list[dict], list[str]]:
    """The report in short: one row per layer, then the sums."""
    rows = []
    for layer in range(report["layers"]):
        row = {"layer": str(layer), "influence": f"{report['influence'][layer]:.3f}"}
        row["lens loss before"] = f"{report['lens'][layer]:.3f}"
        for kind in ("block", "attn", "mlp") if "lesions" in report else ():
            cost = report["lesions"][kind][layer]
            row[f"without {kind}"] = f"{cost['delta']:+.3f} ± {cost['se']:.3f}"
        if "jacobians" in report:
            product = report["jacobians"][layer]["product"]
            row["dy/dx so far: median"], row["largest"] = (
                f"{product['median']:.1e}",
                f"{product['largest']:.1e}",
            )
        rows.append(row)
    sentences = []
    far = report["perturbation"]
    first = sum(far[0][1:]) / max(1, len(far) - 1)
    others = [v for p in range(1, len(far)) for v in far[p][p + 1 :]]
    sentences.append(
        f"change the first token: later outputs move by {first:.1e} of their size; "
        f"change another: by {sum(others) / max(1, len(others)):.1e}"
    )
    if "paths" in report:
        norms, total, error = (report["paths"][key] for key in ("norms", "total", "error"))
        sentences.append(
            f"the gradient at layer 0 has norm {total:.1e}; its part that passed no branch {norms[0]:.1e}, "
            f"all {len(norms) - 1} branches {norms[-1]:.1e} (the parts sum to it within {error:.0e})"
        )
    return rows, sentences


def summary_json(run: Run, report: dict) -> str:
    """The report as a small JSON text: what is printed, with its origin."""
    rows, sentences = tell(report)
    head = {"command": f"python autopsy.py {run.folder}", "date": f"{date.today()}"}
    head |= {key: run.facts[key] for key in ("machine", "torch", "git_commit")}
    head |= {"diagnosis": report["diagnosis"], "findings": sentences}
    if "paths" in report:
        head["paths"] = [float(f"{norm:.3g}") for norm in report["paths"]["norms"]]
    lines = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return json.dumps(head, ensure_ascii=False, indent=1)[:-2] + f',\n "layers": [\n  {lines}\n ]\n}}\n'


def main(arguments: list[str]) -> int:
    config, (place,), _ = configure.parse(AutopsyConfig, arguments, HELP)
    import torch  # here, so that help and faults come before it

    from reslab.data.dataset import open_dataset
    from reslab.report.html import write_autopsy
    from reslab.system import device
    from reslab.training.load import load
    from reslab.training.state import check_data

    folder = Path(place)
    run = read_run(folder)
    device.prepare_torch("cpu")
    model, _, state = load(folder, weights=config.weights)
    dataset = open_dataset(
        config.dataset or run.config["dataset"], run.config["block_size"], run.config["seed"]
    )
    check_data(folder, state, dataset)
    with torch.random.fork_rng():
        report = examine(model, dataset, config)
    report["diagnosis"] = run.last("diagnosis") or "unfinished"
    rows, sentences = tell(report)
    write_atomically(folder / "autopsy.json", json.dumps(report, ensure_ascii=False))
    write_autopsy(folder / "autopsy.html", report, f"Autopsy of {folder}")
    if config.json:
        write_atomically(config.json, summary_json(run, report))
    print("\n\n".join([report["diagnosis"], table(rows), *sentences, report["lens_text"]]))
    print(f"\npage: {(folder / 'autopsy.html').resolve()}")
    return 0


if __name__ == "__main__":
    configure.run_door(main)
