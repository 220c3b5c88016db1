"""Published results beside the rows of other experiments that measure the same here, and what differs."""

from itertools import islice

from experiments.degradation.table import at_one_rate
from experiments.laptop.table import AUTOPSIES
from experiments.rezero.table import PUBLISHED, best, per_word
from experiments.tables import Table, group_by, markdown, mean, mean_of, span
from experiments.theory.table import collapsed, deepest

ERRORS = {  # of He et al., in percent: arm -> layers -> top-1 error on ImageNet
    "plain": {18: 27.94, 34: 28.54},
    "skips": {18: 27.88, 34: 25.03},
}
DEEP, LENGTHS = 110, (10, 34)  # of Veit et al.: layers, and of paths that most of the gradient comes from

# Each: the paper and its mark, what it reports, what differs here.
HE = (
    "He et al. 2015, [1512.03385](https://arxiv.org/abs/1512.03385): degradation",
    "ImageNet, top-1 error at {} and {} layers: plain {}% and {}%, with skips {}% and {}%; the ".format(
        *ERRORS["plain"], *ERRORS["plain"].values(), *ERRORS["skips"].values()
    )
    + "deeper plain net is the worse one on its training data, too",
    "they have convolutions with batch norm, on images, and their deep plain net still learns",
)
LESIONS = (
    "Veit et al. 2016, [1605.06431](https://arxiv.org/abs/1605.06431): lesions",
    f"CIFAR-10, {DEEP} layers: without one block the error hardly changes (save for those that halve the "
    "image), and it rises smoothly with the number taken out; VGG without one layer is down to chance",
    "here a loss, and fewer blocks; the stack without skips is the repaired one of step 7, theirs is VGG",
)
PATHS = (
    "Veit et al. 2016: lengths of paths",
    f"{DEEP} layers: most of the gradient comes from paths that are {LENGTHS[0]} to {LENGTHS[1]} layers deep",
    "they multiply the number of paths of a length by the gradient through a few of them; here a part is the "
    "exact sum over all paths of a length, which may cancel",
)
NOCI = (
    "Noci et al. 2022, [2206.03126](https://arxiv.org/abs/2206.03126): rank collapse",
    "at the start tokens are the more alike the deeper a stack is, unless its branches are scaled by the "
    "depth (figure 1); where they are alike, the gradient of Q and K vanishes",
    "their figure is of post-norm stacks that translate, and goes on through training; here causal pre-norm "
    "stacks before training, and 1 / sqrt(2L) where they have 1 / sqrt(L)",
)
REZERO = (
    "Bachlechner et al. 2020, [2003.04887](https://arxiv.org/abs/2003.04887): ReZero",
    "WikiText-2, perplexity per word, in their [notebook](https://github.com/tbachlechner/ReZero-examples): "
    f"after one pass {PUBLISHED['pre', 12]} with pre-norm of 12 layers, {PUBLISHED['rezero', 12]} with "
    f"ReZero, {PUBLISHED['rezero', 128]} with 128 layers of ReZero; after three 194, 187 and 168",
    "learned positions, GELU, a norm before the head, an a for each sublayer, GPT-2's start of pre-norm, "
    "and words as they stand between blanks",
)


def over_depth(result: dict) -> str:
    """The training loss of the least and the most layers, without and with skips."""
    cells = {}
    for grid in ("plain", "skips"):
        runs = {depth: runs for (depth,), runs in group_by(at_one_rate(result, grid), "n_layer").items()}
        ends = min(runs), max(runs)
        cells[grid] = " and ".join(f"{mean_of(runs[depth], 'train/loss'):.2f}" for depth in ends)
    at = f"{ends[0]} and {ends[1]} layers"
    return f"training loss at {at}, at one rate: plain {cells['plain']}, with skips {cells['skips']}"


def taken_out(result: dict) -> str:
    """What the loss rises by without one block and without several."""
    arms = group_by([run for run in result["runs"] if run["learns"] == "all"], "arm")
    skips, plain = arms["pre",], arms["none, self",]
    rises = [[rise for run in seeds for rise in run["block"]] for seeds in (skips, plain)]
    one, other = (f"{min(blocks):+.2f} to {max(blocks):+.2f}" for blocks in rises)
    several = ", ".join(f"{mean([run['random'][k - 1] for run in skips]):+.2f}" for k in (2, 3, 4, 6, 8))
    return (
        f"rise of the loss in nats, {skips[0]['n_layer']} blocks: with skips {one} without one of them, and "
        f"{several} without 2, 3, 4, 6 and 8; with no skips {other} without one"
    )


def large_parts(*autopsies: dict) -> list[tuple[int, int, int]]:
    """For each seed, how many branches those paths have passed that carry the largest part of the gradient at
    layer 0, and the fewest and the most of those that carry at least a tenth of that."""
    parts = []
    for norms in (autopsy["paths"] for autopsy in autopsies):
        counts = [k for k, norm in enumerate(norms) if norm >= max(norms) / 10]
        parts.append((norms.index(max(norms)), counts[0], counts[-1]))
    return parts


def by_length(*autopsies: dict) -> str:
    """The same in words."""
    most, least, last = (span(counts, str) for counts in zip(*large_parts(*autopsies), strict=True))
    return (
        f"{len(autopsies[0]['paths']) - 1} branches, trained: the largest part of the gradient has passed "
        f"{most}; those of at least a tenth of it begin at {least} and end at {last}"
    )


def alike(result: dict, scaled: dict) -> str:
    """The mean cosine of tokens behind the deepest fresh stacks, and the gradient of Q and K over V's."""
    stacks = collapsed(result, scaled).values()
    plain, skips, both = (f"{cosine[-1]:.2f}" for cosine, _, _ in stacks)
    ratios = ", ".join(f"{qk / v:.0e}" for _, qk, v in stacks)
    return (
        f"mean cosine behind {deepest(result)} layers {plain} without skips, {skips} with, {both} with "
        f"branches scaled as well; gradient of Q and K over that of V in mid-stack {ratios}"
    )


def perplexity(result: dict) -> str:
    """Of both wirings after one pass over the text, each at its best rate, and of the control."""
    cells = [
        f"{per_word(runs)} "
        + ("without blocks (`silent`)" if wiring == "silent" else f"with {layers} layers of `{wiring}`")
        for (wiring, layers), runs in best(result).items()
    ]
    return f"after one pass: {', '.join(cells)}; three passes were not run"


def marks(*results: dict) -> str:
    """A row for each of MARKS, whose results come in their order."""
    left, rows = iter(results), []
    for (mark, reported, differs), here, folder, names in MARKS:
        page = f"[`{folder}`](../experiments/{folder}/README.md)"
        rows.append([mark, reported, f"{here(*islice(left, len(names)))} ({page})", differs])
    return markdown(["mark", "the paper reports", "here", "what differs"], rows)


MARKS = (  # the paper, what is said of the results here, and where those are
    (HE, over_depth, "degradation", ("result",)),
    (LESIONS, taken_out, "worth", ("result",)),
    (PATHS, by_length, "laptop", AUTOPSIES["pre"]),
    (NOCI, alike, "theory", ("result", "scaled")),
    (REZERO, perplexity, "rezero", ("result",)),
)
TABLES = {
    "marks": Table(marks, tuple(f"../{folder}/{name}" for *_, folder, names in MARKS for name in names))
}
