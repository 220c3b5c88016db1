"""Probes that a reader works out from stored ones, so that no number of a run is stored twice."""


def _relative(norms: list) -> list:
    """Each norm over the last one."""
    last = norms[-1]
    return [None if norm is None or last is None else norm / last if last else 0.0 for norm in norms]


# Name -> the stored probe that it comes from, and how.
DERIVED = {
    # norm(dL/dh) of the stream before each block and after the last (L + 1).
    "gradient_norm": ("resid_gradient", lambda norms: norms[::2]),
    # The same over its last value. It misleads alone: in a fresh plain stack the norm survives while all of
    # it sits on one token.
    "gradient_reach": ("resid_gradient", lambda norms: _relative(norms[::2])),
    # Root mean square of the stream before each block and after the last (L + 1).
    "stream_rms": ("resid_rms", lambda values: values[::2]),
}


def with_derived(row: dict) -> dict:
    """A row of metrics.jsonl with the DERIVED probes whose source it has."""
    sources = {name: row.get(f"probe/{source}") for name, (source, _) in DERIVED.items()}
    return row | {f"probe/{name}": DERIVED[name][1](values) for name, values in sources.items() if values}
