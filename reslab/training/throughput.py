"""The rate of a training: tokens per second over its latest updates, and the share of a GPU's peak."""

from collections.abc import Callable


class Throughput:
    """Counts updates and the seconds that they took; evaluations and probes are not on this clock.

    Args:
        tokens_per_step: of one update, over all ranks.
        mfu_of: tokens per second -> share of the GPU's peak, None where that is unknown; left out on a CPU.
    """

    def __init__(self, tokens_per_step: int, mfu_of: Callable[[float], float | None] | None = None):
        self.tokens_per_step, self.mfu_of = tokens_per_step, mfu_of
        self.updates, self.seconds = 0, 0.0  # since the last row
        self.tokens_per_s = 0.0
        """0 before the first update."""

    def add(self, seconds: float) -> None:
        """Count an update that took so long."""
        self.updates, self.seconds = self.updates + 1, self.seconds + seconds
        self.tokens_per_s = self.updates * self.tokens_per_step / self.seconds

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilization at this rate."""
        return self.mfu_of(self.tokens_per_s) if self.mfu_of else None

    def row(self) -> dict:
        """tokens_per_s of the updates since the last row, and mfu on a GPU: keys of a row.

        Each row has a rate of its own, so the minutes that torch compiles in are in the first one only.
        """
        self.updates, self.seconds = 0, 0.0
        return ({"mfu": self.mfu} if self.mfu_of else {}) | {"tokens_per_s": self.tokens_per_s}

    def seconds_for(self, updates: int) -> float:
        """How long so many updates take at this rate."""
        return updates * self.tokens_per_step / self.tokens_per_s

    def texts(self) -> dict[str, str]:
        """The rate for people: tok/s, and MFU on a GPU."""
        mfu = {"MFU": percent(self.mfu)} if self.mfu_of else {}
        return {"tok/s": f"{self.tokens_per_s:,.0f}"} | mfu


def percent(share: float | None) -> str:
    """A share for people, n/a where there is none."""
    return "n/a" if share is None else f"{share:.1%}"
