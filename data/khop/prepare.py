"""Lines that ask where some arrows lead (k-hop pointer chasing): a question that takes several steps.

    python data/khop/prepare.py

`cefbgda2bg` says that the arrow of a leads to c, that of b to e, ... that of g to a, and that 2 arrows lead
from b to g. The arrows of a line are one circle through all letters, so none of the asked hops comes back
early. Each line asks once: no line holds a hop of another's answer. The circles of the validation split are
in no training line.
"""

import random
import sys
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from reslab.data.folders import own_folder
from reslab.data.prepare_cli import arguments, run_prepare, run_script

LETTERS = "abcdefg"
HOPS = 3  # the most that is asked; the way back, 4 arrows, is longer
LINES = {"train": 50_000, "val": 10_000}
HELD_OUT = 72  # circles of the validation split, of 720


def line(circle: str, hops: int, start: str) -> str:
    """The arrows of a circle, each leading to the next of its letters, then the question and its answer."""
    place = {letter: i for i, letter in enumerate(circle)}
    arrows = (circle[(place[letter] + 1) % len(circle)] for letter in LETTERS)
    return f"{''.join(arrows)}{hops}{start}{circle[(place[start] + hops) % len(circle)]}\n"


def circles() -> dict[str, list[str]]:
    """All circles of each split, each written from its first letter on."""
    everyone = ["".join((LETTERS[0], *rest)) for rest in permutations(LETTERS[1:])]
    random.Random(1).shuffle(everyone)
    return {"train": everyone[HELD_OUT:], "val": everyone[:HELD_OUT]}


def lines(split: str) -> Iterator[str]:
    """The lines of a split, always the same."""
    draw, choice = random.Random(f"khop {split}"), circles()[split]
    for _ in range(LINES[split]):
        yield line(draw.choice(choice), draw.randint(1, HOPS), draw.choice(LETTERS))


def main() -> None:
    args = arguments(__doc__, own_folder(__file__)).parse_args()
    train, val = ("".join(lines(split)) for split in LINES)
    run_prepare(args, lambda: [train], "char", "k-hop lines", read_val=lambda: [val])


if __name__ == "__main__":
    run_script(main)
