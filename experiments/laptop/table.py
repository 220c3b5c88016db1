"""The demo: its losses, what the probes measured while it trained, and both models taken apart."""

from experiments.tables import ARMS, Table, group_by, markdown, origin, over_seeds, pair, skips_first


def unscaled(result: dict) -> str:
    """Both arms with the same start, so that they differ in the skip alone."""
    arms = group_by(skips_first(result["runs"]), "residual")
    rows = [
        [ARMS[arm], *(over_seeds(runs, split) for split in ("train", "val"))] for (arm,), runs in arms.items()
    ]
    return markdown(["`--init=unscaled`", "train loss", "val loss"], rows) + origin(result)


POSITIONS = {"learned": "learned positions", "rope": "rotary positions"}
OPTIMIZERS = {"adamw": "AdamW", "muon": "Muon"}


def parts(result: dict) -> str:
    """The stack with skips, with and without each part of the recipe."""
    val = {(run["optimizer"], run["pos"]): run["val/loss"] for run in result["runs"]}
    rows = [
        [name, *(f"{val[optimizer, pos]:.3f}" for pos in POSITIONS)] for optimizer, name in OPTIMIZERS.items()
    ]
    return markdown(["val loss, with skips", *POSITIONS.values()], rows) + origin(result)


def reach(result: dict) -> str:
    """The probes at both ends of the stack: at the start, after ten updates, at the end."""
    rows = []
    for run in skips_first(result["runs"]):
        for probed in run["probed"]:
            first, last = probed["gradient_norm"]
            rows.append(
                [
                    f"`{run['residual']}`",
                    f"{probed['step']}",
                    f"{first:.1e}",
                    f"{last:.1e}",
                    f"{probed['position0_share']:.0%}",
                    f"{probed['qk_gradient'][0]:.1e}",
                    f"{probed['token_diversity']:.1e}",
                ]
            )
    head = ["arm", "step", "gradient at layer 0", "after the last layer", "share on the first token"]
    head += ["Q/K gradient, layer 0", "token diversity after the last layer"]
    return markdown(head, rows) + origin(result)


def paths(pre: dict, none: dict) -> str:
    """The gradient at layer 0 of both models, by the number of branches that its paths have passed."""
    arms = {"pre": pre["paths"], "none": none["paths"]}
    largest = max(range(len(arms["pre"])), key=arms["pre"].__getitem__)
    counts = sorted({0, 1, 2, 4, largest, 16, 32, len(arms["pre"]) - 1})
    rows = [[ARMS[arm], *(f"{norms[k]:.1e}" for k in counts)] for arm, norms in arms.items()]
    return markdown(["branches passed", *map(str, counts)], rows)


def lesions(pre: dict) -> str:
    """What the loss rises by when one block of the model with skips is taken out."""
    layers = pre["layers"]
    chosen = [0, 1, 2, 4, 8, 12, 16, 20, len(layers) - 1]
    rows = [["rise of the loss, nats", *(layers[k]["without block"] for k in chosen)]]
    return markdown(["block taken out", *map(str, chosen)], rows)


TABLES = {
    "laptop": Table(pair, ("seeds", "silent")),
    "unscaled": Table(unscaled, ("unscaled",)),
    "parts": Table(parts, ("parts",)),
    "reach": Table(reach),
    "paths": Table(paths, ("autopsy-pre", "autopsy-none")),
    "lesions": Table(lesions, ("autopsy-pre",)),
}
