"""One recipe for 1 to 1000 layers."""

from experiments.tables import ARMS, Table, control_line, group_by, markdown, of_grid, origin, over_seeds

NAMES = {
    "depth_mup": "with skips (`depth_mup`)",
    "none": ARMS["none"],
    "pre": ARMS["pre"],
    "completep": "with skips (`completep`)",
    "depth_scaled": "with skips (`depth_scaled`)",
    "keel": "with skips (`keel`)",
}


def thousand(result: dict) -> str:
    """Validation loss by wiring, rate of the blocks and depth; of `pre` with AdamW, too."""
    runs = [run for run in result["runs"] if run["residual"] != "silent"]
    depths, rows = sorted({run["n_layer"] for run in runs}), []
    arms = group_by(runs, "residual", "optimizer", "muon_lr")
    order = sorted(arms, key=lambda arm: (list(NAMES).index(arm[0]), arm[1] == "adamw", arm[2]))
    for residual, optimizer, rate in order:
        seeds = group_by(arms[residual, optimizer, rate], "n_layer")
        name = "AdamW" if optimizer == "adamw" else f"rate {rate:g}"
        rows.append(
            [f"{NAMES[residual]}, {name}", *(over_seeds(seeds.get((depth,), [])) for depth in depths)]
        )
    silent = [run for run in result["runs"] if run["residual"] == "silent"]
    bigram, unigram = (result["baselines_nats"][name]["val"] for name in ("bigram", "unigram"))
    note = (
        "\nValidation loss; of several seeds their mean and range. "
        f"`silent`, the same at every depth, ends on {over_seeds(silent)}; the bigram "
    )
    note += f"baseline is {bigram:.3f}, the unigram baseline {unigram:.3f}.\n"
    return markdown(["layers", *map(str, depths)], rows) + note + origin(result)


def thousand_grown(result: dict, recipe: dict) -> str:
    """Validation loss of a stack that grew half-way, by its depth since then and the rate of its blocks.

    Args:
        recipe: the result that has `silent` with as many updates.
    """
    runs = group_by(result["runs"], "n_layer", "muon_lr")
    depths, rates = (sorted({key[place] for key in runs}) for place in (0, 1))
    rows = [[str(n), *(over_seeds(runs[n, rate]) for rate in rates)] for n in depths]
    control = control_line(recipe, of_grid(recipe, "silent") + of_grid(recipe, "silent-seeds"))
    return markdown(["layers", *(f"rate {rate:g}" for rate in rates)], rows) + control + origin(result)


TABLES = {"thousand": Table(thousand), "thousand_grown": Table(thousand_grown, ("grown", "result"))}
