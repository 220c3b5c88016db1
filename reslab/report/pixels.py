"""Lists over layers as pictures for trackers: common named scales, layer 0 at the bottom, a bar beside it."""

import math
from dataclasses import dataclass

import numpy as np

SIZE = 256  # pixels that a picture's height and width come near to, unless it has more layers
BAR = 16  # pixels of the bar's width, and of the gap before it
RAMP = [(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)]  # dark is small
MISSING = (200, 200, 200)


@dataclass(frozen=True)
class Scale:
    """From values to colours, the same for every run and step, so that pictures can be compared.

    Args:
        low, high: values at the two ends of the bar; what lies beyond has the colour of its end.
        log: whether colours go by the logarithm.
    """

    low: float
    high: float
    log: bool = False

    @property
    def name(self) -> str:
        return f"{'log' if self.log else 'linear'} {self.low:g} to {self.high:g}"

    def place(self, values: np.ndarray) -> np.ndarray:
        """Where values lie between the two ends, 0 to 1."""
        low, high = self.low, self.high
        if self.log:
            values = np.log10(np.maximum(values, low))
            low, high = math.log10(low), math.log10(high)
        return np.clip((values - low) / (high - low), 0, 1)


LOG = Scale(1e-10, 1e3, log=True)  # of probes that are sizes
LINEAR = Scale(0, 1)  # of probes that are shares


def curve(value) -> list[float | None]:
    """A probe's list over layers; of a list for each layer, as over heads, one after another; else empty."""
    parts = value if isinstance(value, list) else []
    flat = [v for part in parts for v in (part if isinstance(part, list) else [part])]
    return flat if all(v is None or isinstance(v, int | float) for v in flat) else []


def scale_of(description: dict) -> Scale:
    """The scale of a probe's pictures, from what config.json tells of the probe, which may be nothing."""
    log = description.get("scale", "log") == "log"
    ends = description.get("ends")
    return Scale(*ends, log) if ends else LOG if log else LINEAR


def picture(columns: list[list[float | None]], scale: Scale) -> np.ndarray:
    """A list over layers, one column for each step, as an image (height, width, 3), uint8.

    Layer 0 is the bottom row, time goes right; grey is a number that is not finite. The bar at the right
    shows the scale's colours, small at the bottom.
    """
    chosen = np.unique(np.linspace(0, len(columns) - 1, min(len(columns), SIZE)).astype(int))
    longest = max(map(len, columns))
    padded = [[*columns[k], *[None] * (longest - len(columns[k]))] for k in chosen]
    values = np.array(padded, dtype=float).T[::-1]  # (layers, steps)
    finite = np.isfinite(values)
    image = colours(scale.place(np.where(finite, values, scale.low)))
    image[~finite] = MISSING
    repeat = [max(1, SIZE // size) for size in values.shape]
    image = image.repeat(repeat[0], axis=0).repeat(repeat[1], axis=1)
    bar = colours(np.linspace(1, 0, len(image)))[:, None].repeat(BAR, axis=1)
    gap = np.full_like(bar, 255)
    return np.concatenate([image, gap, bar], axis=1)


def colours(places: np.ndarray) -> np.ndarray:
    """Colours (..., 3), uint8, of places between 0 and 1 on the ramp."""
    marks = np.linspace(0, 1, len(RAMP))
    bands = [np.interp(places, marks, band) for band in zip(*RAMP, strict=True)]
    return np.stack(bands, axis=-1).round().astype(np.uint8)
