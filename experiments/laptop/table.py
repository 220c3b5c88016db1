"""The demo: its losses, what the probes measured while it trained, and both models taken apart."""

from experiments.tables import (
    ARMS,
    Table,
    group_by,
    markdown,
    origin,
    over_seeds,
    pair,
    skips_first,
    span,
    spread,
)

AUTOPSIES = {  # of the runs in result.json; the site and the pictures have the first
    arm: tuple(f"autopsy-{arm}{seed}" for seed in ("", "-s1338", "-s1339")) for arm in ("pre", "none")
}


def unscaled(result: dict, silent: dict) -> str:
    """Both arms with the same start, so that they differ in the skip alone; a stack without blocks has no
    such start."""
    arms = group_by(skips_first(result["runs"]), "residual") | {("silent",): silent["runs"]}
    rows = [
        [ARMS[arm], *(over_seeds(runs, split) for split in ("train", "val"))] for (arm,), runs in arms.items()
    ]
    return markdown(["`--init=unscaled`", "train loss", "val loss"], rows) + origin(result)


POSITIONS = {"learned": "learned positions", "rope": "rotary positions"}
OPTIMIZERS = {"adamw": "AdamW", "muon": "Muon"}


def parts(result: dict, silent: dict) -> str:
    """The stack with skips, with and without each part of the recipe, over the seeds; a stack without blocks
    has no matrices for Muon."""
    runs, control = group_by(result["runs"], "optimizer", "pos"), group_by(silent["runs"], "pos")
    rows = [
        [f"with skips, {name}", *(over_seeds(runs[optimizer, pos]) for pos in POSITIONS)]
        for optimizer, name in OPTIMIZERS.items()
    ]
    rows.append([ARMS["silent"], *(over_seeds(control[pos,]) for pos in POSITIONS)])
    return markdown(["val loss", *POSITIONS.values()], rows) + origin(result)


def reach(result: dict) -> str:
    """The probes at both ends of the stack: at the start, after ten updates, at the end; over the seeds."""
    rows = []
    for (arm,), runs in group_by(skips_first(result["runs"]), "residual").items():
        for looks in zip(*(run["probed"] for run in runs), strict=True):
            figures = [
                ([look["gradient_norm"][0] for look in looks], "{:.1e}"),
                ([look["gradient_norm"][1] for look in looks], "{:.1e}"),
                ([look["position0_share"] for look in looks], "{:.0%}"),
                ([look["qk_gradient"][0] for look in looks], "{:.1e}"),
                ([look["token_diversity"] for look in looks], "{:.1e}"),
            ]
            spans = [span(values, form.format) for values, form in figures]
            rows.append([f"`{arm}`", f"{looks[0]['step']}", *spans])
    head = ["arm", "step", "gradient at layer 0", "after the last layer", "share on the first token"]
    head += ["Q/K gradient, layer 0", "token diversity after the last layer"]
    return markdown(head, rows) + origin(result)


def paths(*autopsies: dict) -> str:
    """The gradient at layer 0 of both models, by the number of branches that its paths have passed; the
    autopsies of the models with skips come first."""
    half = len(autopsies) // 2
    arms = {
        arm: [autopsy["paths"] for autopsy in seeds]
        for arm, seeds in (("pre", autopsies[:half]), ("none", autopsies[half:]))
    }
    largest = (max(range(len(norms)), key=norms.__getitem__) for norms in arms["pre"])
    counts = sorted({0, 1, 2, 4, *largest, 16, 32, len(arms["pre"][0]) - 1})
    rows = [
        [ARMS[arm], *(span([norms[k] for norms in seeds], "{:.1e}".format) for k in counts)]
        for arm, seeds in arms.items()
    ]
    return markdown(["branches passed", *map(str, counts)], rows)


def lesions(*autopsies: dict) -> str:
    """What the loss rises by when one block of a model with skips is taken out, over the seeds."""
    rises = [
        [float(layer["without block"].split(" ± ")[0]) for layer in autopsy["layers"]]
        for autopsy in autopsies
    ]
    chosen = [0, 1, 2, 4, 8, 12, 16, 20, len(rises[0]) - 1]
    rows = [["rise of the loss, nats", *(spread([seed[k] for seed in rises], "+.3f") for k in chosen)]]
    return markdown(["block taken out", *map(str, chosen)], rows)


TABLES = {
    "laptop": Table(pair, ("result", "silent")),
    "unscaled": Table(unscaled, ("unscaled", "silent")),
    "parts": Table(parts, ("parts", "parts_silent")),
    "reach": Table(reach),
    "paths": Table(paths, AUTOPSIES["pre"] + AUTOPSIES["none"]),
    "lesions": Table(lesions, AUTOPSIES["pre"]),
}
