"""All programs under one name: `reslab train ...` does what `python train.py ...` does in a checkout."""

import runpy
import sys
from pathlib import Path

from reslab import TOP, __version__
from reslab.data.folders import data_folder
from reslab.run.config import run_door
from reslab.run.help import EXIT_CODES, columns, reflowed

DOORS = ("train", "sample", "compare", "autopsy", "export", "bench")
HELP = f"""usage: reslab PROGRAM ... | reslab prepare DATASET ...

    reslab train config/smoke.py       train one model
    reslab sample runs/smoke           text from it
    reslab compare runs/smoke          a table and a page of runs
    reslab compare config/laptop.py    train a grid, then compare its runs
    reslab autopsy runs/smoke          what each of its layers does
    reslab export runs/smoke DIR       a folder of transformers
    reslab bench                       how fast all this is
    reslab prepare stdlib              a dataset; no name lists them

`reslab PROGRAM --help` lists the settings of each. A config is looked for here, then in the package. Datasets
go to the folder that the environment variable RESLAB_DATA names, without it to ~/.cache/reslab.

{EXIT_CODES}"""


def datasets() -> dict[str, Path]:
    """The scripts that prepare datasets, by name."""
    return {path.parent.name: path for path in sorted((TOP / "data").glob("*/prepare.py"))}


def find_script(words: list[str]) -> tuple[Path, list[str]]:
    """The script that a command line names, and its own words. Raises ValueError where it names none.

    Args:
        words: of which `prepare` is not the only one.
    """
    name, *rest = words
    if name in DOORS:
        return TOP / f"{name}.py", rest
    if name != "prepare":
        raise ValueError(f"{name}: no such program; there are {', '.join((*DOORS, 'prepare'))}")
    if rest[0] not in datasets():
        raise ValueError(f"{rest[0]}: no such dataset; there are {', '.join(datasets())}")
    return datasets()[rest[0]], rest[1:]


def dataset_list() -> str:
    """What `reslab prepare` prints: the names that it takes, and where they go."""
    head = "usage: reslab prepare NAME [--option ...]; see reslab prepare NAME --help"
    return "\n    ".join([head, *datasets()]) + f"\nThey go to {data_folder()}, or where --out says."


def main() -> None:
    run_door(_main)


def _main(words: list[str]) -> None:
    if words in (["--version"], ["-V"]):
        print(f"reslab {__version__}")
    elif not words or words[0] in ("--help", "-h"):
        print(reflowed(HELP, columns()))
    elif words in (["prepare"], ["prepare", "--help"], ["prepare", "-h"]):
        print(dataset_list())
    else:
        script, rest = find_script(words)
        sys.argv = [script.relative_to(TOP).as_posix(), *rest]
        sys.path.insert(0, str(TOP))
        runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
