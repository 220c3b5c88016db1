"""Fresh stacks beside what theory predicts of them, mean over seeds."""

from experiments.tables import ARMS, Table, group_by, markdown, source

BLOCKS = (1, 2, 4, 6, 8, 10, 12, 24)  # behind which tokens and the stream are compared


def means(result: dict, residual: str, layers: int, key: str) -> list[float]:
    """A probe of each layer, the mean over seeds."""
    runs = group_by(result["runs"], "residual", "n_layer")[residual, layers]
    return [sum(values) / len(values) for values in zip(*(run[key] for run in runs), strict=True)]


def tokens(result: dict) -> str:
    """Token diversity, and the gradient's share on the first token, over the blocks passed."""
    predicted = result["predicted"]
    diversity = means(result, "none", 24, "token_diversity")
    share = means(result, "none", 24, "position0_share")[::-1]  # a gradient passes the last block first
    rows = [
        ["token diversity, predicted", *(f"{predicted['token_diversity'][k]:.2g}" for k in BLOCKS)],
        ["token diversity, measured", *(f"{diversity[k]:.2g}" for k in BLOCKS)],
        ["first token's share, predicted", *(f"{predicted['position0_share'][k]:.0%}" for k in BLOCKS)],
        ["first token's share, measured", *(f"{share[k]:.0%}" for k in BLOCKS)],
    ]
    return markdown(["blocks passed", *map(str, BLOCKS)], rows) + source(result)


def stream(result: dict) -> str:
    """The stream's rms over depth, with skips."""
    measured = means(result, "pre", 24, "resid_rms")
    rows = [
        [name, *(f"{values[k]:.3f}" for k in (0, *BLOCKS))]
        for name, values in (("predicted", result["predicted"]["resid_rms"]), ("measured", measured))
    ]
    return markdown(["behind blocks", "0", *map(str, BLOCKS)], rows) + source(result)


def gradient(result: dict) -> str:
    """The gradient's norm at layer 0 and that behind the last layer, before training."""
    depths = sorted({run["n_layer"] for run in result["runs"]})
    rows = []
    for residual, name in {**ARMS, "rezero": "x + a F(x), a = 0 (`rezero`)"}.items():
        if residual != "silent":
            ends = [means(result, residual, layers, "resid_gradient") for layers in depths]
            rows.append([name, *(f"{norms[0]:.2g} / {norms[-1]:.2g}" for norms in ends)])
    return markdown(["layers", *map(str, depths)], rows) + source(result)


def deepest(result: dict) -> int:
    return max(run["n_layer"] for run in result["runs"])


def collapsed(result: dict, scaled: dict) -> dict[str, tuple[list[float], float, float]]:
    """The mean cosine of two tokens over the blocks of the deepest stacks, and the gradients of Q and K, and
    of V, in their middle block.

    Args:
        scaled: the result in which branches start divided by sqrt(2L).
    """
    arms = {ARMS["none"]: (result, "none"), ARMS["pre"]: (result, "pre")}
    arms |= {f"{ARMS['pre']}, branches / sqrt(2L)": (scaled, "pre")}
    layers, cells = deepest(result), {}
    for name, (of, residual) in arms.items():
        qk, v = (means(of, residual, layers, key)[layers // 2] for key in ("qk_gradient", "v_gradient"))
        cells[name] = means(of, residual, layers, "token_cosine"), qk, v
    return cells


def collapse(result: dict, scaled: dict) -> str:
    """The same as a table."""
    layers = deepest(result)
    blocks = [k for k in (0, 1, 2, 6, 12, 24, 48, 96) if k <= layers]
    rows = [
        [name, *(f"{cosine[k]:.2f}" for k in blocks), f"{qk:.1e}", f"{v:.1e}"]
        for name, (cosine, qk, v) in collapsed(result, scaled).items()
    ]
    head = [f"{layers} layers, behind blocks", *map(str, blocks), "gradient of Q and K", "of V"]
    return markdown(head, rows) + source(result) + source(scaled)


TABLES = {
    "theory_tokens": Table(tokens),
    "theory_stream": Table(stream),
    "theory_gradient": Table(gradient),
    "theory_collapse": Table(collapse, ("result", "scaled")),
}
