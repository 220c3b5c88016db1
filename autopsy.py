"""A finished model on the table: lesions, logit lens, perturbation, Jacobians, path lengths."""

import copy
import json
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

from reslab.report.summary import fold, table
from reslab.run import config as configure
from reslab.run.files import write_atomically
from reslab.run.launch import as_typed
from reslab.run.options import AutopsyConfig
from reslab.run.streams import terminal_width, wrapped

HELP = """
    python autopsy.py runs/smoke
    python autopsy.py FOLDER --text book.txt    a model of transformers

It prints what it finds, and leaves autopsy.json and autopsy.html in the run directory; of a model of
transformers, which may be the name of one on the Hub, in the current folder under the model's name.
"""
# The columns that a narrow terminal leaves out, the first one first.
FOLD_FIRST = ("largest", "without mlp", "without attn", "dy/dx so far: median", "influence")
JACOBIAN_ROWS = 4096  # the largest Jacobian that is taken apart


def examine(model, x, y, decode: Callable, config: AutopsyConfig) -> dict:
    """All of dissection.py that the model allows, as plain numbers, and why the rest is "missing".

    Args:
        model: a GPT or a model of transformers, in eval mode.
        x, y: token ids (N, T), y shifted by one.
        decode: from a list of ids to text.
    """
    from tqdm import tqdm

    from reslab.instruments import dissection, parts
    from reslab.instruments.anatomy import anatomy_of

    anatomy, exact = anatomy_of(model), anatomy_of(copy.deepcopy(model).double())
    report: dict = {"layers": len(anatomy.blocks)}
    few, tiny, tiny_targets = slice(0, 4), x[:1, : config.tokens], y[:1, : config.tokens]
    missing = {name: anatomy.cannot(name) for name in (parts.LESIONS, parts.JACOBIANS, parts.PATHS)}
    if not missing["lesions"]:
        tell_sequences(model, x, y, config)
    steps = tqdm(total=6, desc="autopsy", unit="part", disable=None)
    if not missing["lesions"]:
        report["lesions"] = dissection.lesions(model, x, y, config.draws)
    steps.update()
    report["influence"] = dissection.block_influence(model, x[few], y[few])
    steps.update()
    report["lens"], tokens = dissection.logit_lens(model, x[few], y[few])
    report["lens_text"] = lens_text(decode, x[0], tokens[:, 0])
    steps.update()
    report["perturbation"] = dissection.perturbation(exact, x[few])
    steps.update()
    missing["jacobians"] = missing["jacobians"] or _too_large(exact, tiny)
    if not missing["jacobians"]:
        report["jacobians"] = dissection.jacobians(exact, tiny)
    steps.update()
    if not missing["paths"]:
        report["paths"] = dissection.path_lengths(exact, tiny, tiny_targets)
    steps.update()
    steps.close()
    return report | {"missing": {name: reason for name, reason in missing.items() if reason}}


def tell_sequences(model, x, y, config: AutopsyConfig) -> None:
    """Print how many sequences there are, and about how long their lesions take, by the time of the first.

    Args:
        x, y: as examine() takes them.
    """
    from reslab.instruments import dissection
    from reslab.instruments.anatomy import anatomy_of

    fewer = f", all there are of the {config.sequences:,} asked for" if len(x) < config.sequences else ""
    dissection.sequence_losses(model, x[:1], y[:1])  # the first call is slower
    began, first = time.perf_counter(), min(len(x), 32)
    dissection.sequence_losses(model, x[:first], y[:first])
    passes = 2 + (3 + config.draws) * len(anatomy_of(model).blocks)  # whole, no skips, parts, random sets
    seconds = (time.perf_counter() - began) / first * len(x) * passes
    line = f"lesions: {len(x):,} sequences{fewer}, at most {passes:,} times, about {seconds:,.0f} s"
    print(line, file=sys.stderr, flush=True)


def _too_large(exact, inputs) -> str | None:
    """Why a block's Jacobian can't be taken apart, if it is too large."""
    rows = exact.block_calls(inputs)[0][1].numel()
    if rows <= JACOBIAN_ROWS:
        return None
    return f"tokens times width is {rows}, and at most {JACOBIAN_ROWS} are taken apart; lower --tokens"


def lens_text(decode: Callable, inputs, tokens, width: int = 56) -> str:
    """The likeliest next token at each place, layer by layer, under the text that was read."""

    def line(ids) -> str:
        return "".join(c if c.isprintable() else "·" for c in decode(ids.tolist()[:width]))

    lines = [f"{'read':>8}  {line(inputs)}"]
    return "\n".join(lines + [f"{layer:>8}  {line(row)}" for layer, row in enumerate(tokens)])


def tell(report: dict) -> tuple[list[dict], list[str]]:
    """The report in short: one row per layer, then sentences."""
    rows = []
    for layer in range(report["layers"]):
        row = {"layer": str(layer), "influence": f"{report['influence'][layer]:.3f}"}
        row["lens loss before"] = f"{report['lens'][layer]:.3f}"
        for kind in ("block", "attn", "mlp"):
            costs = report["lesions"][kind] if "lesions" in report else None
            row[f"without {kind}"] = _cost(costs[layer]) if costs else "n/a"
        product = report["jacobians"][layer]["product"] if "jacobians" in report else {}
        row["dy/dx so far: median"] = f"{product['median']:.1e}" if product else "n/a"
        row["largest"] = f"{product['largest']:.1e}" if product else "n/a"
        rows.append(row)
    findings = [_perturbation(report["perturbation"])]
    if "paths" in report:
        norms, total, error = (report["paths"][key] for key in ("norms", "total", "error"))
        findings.append(
            f"the gradient at layer 0 has norm {total:.1e}; its part that passed no branch {norms[0]:.1e}, "
            f"all {len(norms) - 1} branches {norms[-1]:.1e} (the parts sum to it within {error:.0e})"
        )
    if "lesions" in report:
        loss, skips = report["lesions"]["loss"], report["lesions"]["skips"]
        findings.append(
            f"the loss is {loss['delta']:.3f} ± {loss['se']:.3f} nats per token; without all its skips "
            + (f"it changes by {_cost(skips)}" if skips else "n/a, they are not x times a constant")
        )
    return rows, findings + [f"{name}: n/a, {reason}" for name, reason in report["missing"].items()]


def _cost(cost: dict) -> str:
    return f"{cost['delta']:+.3f} ± {cost['se']:.3f}"


def _perturbation(moved: list[list[float]]) -> str:
    first = sum(moved[0][1:]) / max(1, len(moved) - 1)
    others = [v for p in range(1, len(moved)) for v in moved[p][p + 1 :]]
    return (
        f"change the first token: later outputs move by {first:.1e} of their size; "
        f"change another: by {sum(others) / max(1, len(others)):.1e}"
    )


def summary_json(argument: str, origin: dict, report: dict) -> str:
    """The report as a small JSON text: what is printed, with its origin."""
    rows, findings = tell(report)
    head = {"command": as_typed(f"python autopsy.py {argument}"), "date": f"{date.today()}"} | origin
    head |= {"diagnosis": report["diagnosis"], "findings": findings}
    if "paths" in report:
        head["paths"] = [float(f"{norm:.3g}") for norm in report["paths"]["norms"]]
    lines = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return json.dumps(head, ensure_ascii=False, indent=1)[:-2] + f',\n "layers": [\n  {lines}\n ]\n}}\n'


def main(argv: list[str]) -> int:
    config, (place,), _ = configure.parse(AutopsyConfig, argv, HELP)
    import torch  # here, so that help and faults come before it

    from reslab.instruments.hub_model import is_model_folder
    from reslab.system import device
    from reslab.training.init_from import is_own

    device.prepare_torch("cpu")
    folder = Path(place)
    if folder.is_file():
        _refuse_file(folder)
    foreign = is_model_folder(folder) or (config.text and not folder.is_dir())
    if foreign and not config.text:
        raise ValueError(f"{place}: a model of transformers is measured on a text of yours; give --text FILE")
    if config.text and not foreign:
        reason = "a run is measured on its own validation split; leave it out"
        if not is_own(place):
            reason = f"{place} is no model of transformers, whose config.json has a model_type"
        raise ValueError(f"text={config.text}: {reason}")
    if not folder.exists() and not config.text:
        raise ValueError(f"{place}: no such folder; for a model of the Hugging Face Hub give --text FILE too")
    with torch.random.fork_rng():
        (of_hub if foreign else of_run)(place, config)
    return 0


def _refuse_file(path: Path) -> None:
    """Raises ValueError, which says what a file is and what to give in its place."""
    from reslab.training.foreign_files import read_nanogpt
    from reslab.training.init_from import is_own

    if is_own(f"{path.parent}"):
        raise ValueError(f"{path}: a file of a run; give its folder, {path.parent}")
    try:
        read_nanogpt(f"{path}")
    except ValueError as error:
        raise ValueError(str(error).removeprefix("init_from=")) from None
    raise ValueError(
        f"{path}: a checkpoint of nanoGPT; make a run of it with train.py --init_from={path}, and give "
        "the folder of that run"
    )


def of_run(place: str, config: AutopsyConfig) -> None:
    """The autopsy of a run directory, beside its checkpoint."""
    from reslab.data.dataset import open_dataset
    from reslab.report import facts
    from reslab.training.load import load
    from reslab.training.state import check_data

    folder = Path(place)
    run = facts.load(folder)
    data = config.dataset or run.config.get("dataset")
    if data is None:
        raise ValueError(f"{folder / 'config.json'}: no value for dataset; give the folder with --dataset")
    model, _, state = load(folder, weights=config.weights)
    dataset = open_dataset(f"{data}", model.config.block_size, seed=0)  # orders batches: none is drawn
    check_data(folder, state, dataset)
    x, y = dataset.sequences("val", dataset.eval_starts("val", config.sequences))

    def decode(ids: list[int]) -> str:
        return dataset.tokenizer.decode_bytes(ids).decode("utf-8", "replace")

    report = examine(model, x, y, decode, config)
    report["diagnosis"] = run.last("diagnosis") or "unfinished"
    origin = {key: run.facts[key] for key in ("machine", "torch", "git_commit")}
    show(report, config, folder / "autopsy", f"{run.folder}", origin)


def of_hub(place: str, config: AutopsyConfig) -> None:
    """The autopsy of a model of transformers, in the current folder."""
    import torch

    from reslab.instruments import hub_model

    for key in ("weights", "dataset"):
        if getattr(config, key) != getattr(AutopsyConfig(), key):
            raise ValueError(f"{key}={getattr(config, key)}: a run has this, a model of transformers has not")
    text = Path(config.text)
    content = hub_model.read_text(text)
    model, tokenizer = hub_model.load(place)
    x, y = hub_model.sequences(content, tokenizer, config.sequences, hub_model.positions_of(model))
    report = examine(model, x, y, tokenizer.decode, config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    report["diagnosis"] = (
        f"{place}: {type(model).__name__}, {report['layers']} blocks of width {model.config.hidden_size}, "
        f"{parameters:,} parameters; {len(x)} sequences of {x.shape[1]} tokens of {text}"
    )
    origin = {"torch": torch.__version__, "text": f"{text}"}
    name = Path(place).resolve().name if Path(place).is_dir() else place.replace("/", "-")
    show(report, config, Path(f"autopsy-{name}"), f"{place} --text {text}", origin)


def show(report: dict, config: AutopsyConfig, stem: Path, argument: str, origin: dict) -> None:
    """Write the report as JSON and as a page under a stem, and print it."""
    from reslab.report.html import write_autopsy

    rows, findings = tell(report)
    data, page = stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.html")
    write_atomically(data, json.dumps(report, ensure_ascii=False))
    write_autopsy(page, report, f"Autopsy of {argument}")
    if config.json:
        write_atomically(config.json, summary_json(argument, origin, report))
    width = terminal_width()
    rows, folded = fold(rows, FOLD_FIRST, width)
    if folded:
        findings = [f"not shown for want of width: {', '.join(folded)}; the page has them", *findings]
    lens = "\n".join(line[:width] for line in report["lens_text"].splitlines())
    texts = ["\n".join(wrapped(text)) for text in (report["diagnosis"], *findings)]
    print("\n\n".join([texts[0], table(rows), *texts[1:], lens]))
    print(f"\npage: {page.resolve()}")


if __name__ == "__main__":
    configure.run_door(main)
