"""Weights belong to what their wiring computed when they were made."""

from pathlib import Path

from reslab.residual import WIRINGS
from reslab.run import checkpoint


def wiring_names(config: dict) -> dict[str, str]:
    """Kind of sublayer -> its wiring, of settings by their names; GPTConfig.wiring() of those that may be no
    longer known."""
    return {kind: config.get(f"{kind}_residual") or config.get("residual") for kind in ("attn", "mlp")}


def other_version(config: dict, versions: dict) -> str | None:
    """Why the weights of a run would compute something else today, or None.

    Args:
        config: the run's settings by their names.
        versions: wiring -> its version when the run was made; 1 where it is not there.
    """
    for name in set(wiring_names(config).values()):
        made = versions.get(name, 1)
        if name in WIRINGS and made != WIRINGS[name].version:
            today = f"version {WIRINGS[name].version}, of today, computes something else"
            then = "use the commit that config.json names, or train it anew"
            return f"made with version {made} of the wiring {name}, and {today}; {then}"
    return None


def load_state(folder: Path) -> dict:
    """state.json of a checkpoint whose weights are to be used.

    Raises:
        ValueError: it is damaged, or its wiring computes something else today.
    """
    state = checkpoint.load_state(folder)
    with checkpoint.reading(folder):
        reason = other_version(state["config"], state.get("wirings", {}))
    if reason:
        raise ValueError(f"{folder / 'state.json'}: {reason}")
    return state
