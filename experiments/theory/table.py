"""Fresh stacks beside what theory predicts of them, mean over seeds."""

from experiments.tables import ARMS, Table, group_by, markdown, source

BLOCKS = (1, 2, 4, 6, 8, 10, 12, 24)  # behind which tokens and the stream are compared
COLLAPSE = {  # wiring, start -> the name of its row
    ("none", "unscaled"): ARMS["none"],
    ("pre", "unscaled"): ARMS["pre"],
    ("pre", "scaled"): f"{ARMS['pre']}, branches / sqrt(2L)",
}


def means(result: dict, residual: str, layers: int, key: str, init: str = "unscaled") -> list[float]:
    """A probe of each layer, the mean over seeds."""
    runs = group_by(result["runs"], "residual", "init", "n_layer")[residual, init, layers]
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


def collapse(result: dict) -> str:
    """The mean cosine of two tokens over the blocks passed, and the gradients of Q, K and V in mid-stack."""
    layers = max(run["n_layer"] for run in result["runs"])
    blocks, rows = [k for k in (0, 1, 2, 6, 12, 24, 48, 96) if k <= layers], []
    for (residual, init), name in COLLAPSE.items():
        keys = ("token_cosine", "qk_gradient", "v_gradient")
        cosine, qk, v = (means(result, residual, layers, key, init) for key in keys)
        gradients = [f"{norms[layers // 2]:.1e}" for norms in (qk, v)]
        rows.append([name, *(f"{cosine[k]:.2f}" for k in blocks), *gradients])
    head = [f"{layers} layers, behind blocks", *map(str, blocks), "gradient of Q and K", "of V"]
    return markdown(head, rows) + source(result)


TABLES = {
    "theory_tokens": Table(tokens),
    "theory_stream": Table(stream),
    "theory_gradient": Table(gradient),
    "theory_collapse": Table(collapse),
}
