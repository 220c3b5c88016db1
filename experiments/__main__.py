"""Writes the tables and pictures of README.md, docs/ and experiments/ from the
results in experiments/.

    python -m experiments            rewrite all pictures, and what stands
                                     between the marks
    python -m experiments --check    change nothing

A table stands between <!-- table NAME --> and <!-- end -->. With --check the
exit code is 1 when a page or a picture and the results differ.

<!-- picture NAME --> is filled with a picture in light and in dark, and with
what one sees in it; <!-- claim NAME --> with what the losses of an experiment
say; <!-- config NAME --> with config/NAME.py, and <!-- question NAME --> with
its first sentence.
"""

import importlib
import os
import re
import sys
from functools import cache
from html import escape
from pathlib import Path

from experiments.drawing import THEMES, WIDTH
from experiments.tables import read_result
from reslab.report.claim import claim as claim_of
from reslab.report.kept import kept_runs
from reslab.run.arguments import ArgumentParser
from reslab.run.config import run_door

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MARKER = re.compile(r"(<!-- (table|picture|claim|config|question) (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


@cache
def tables() -> dict:
    """Name -> the folder of its experiment, and the Table: all TABLES of experiments/*/table.py."""
    return _registered("table", "TABLES")


@cache
def pictures() -> dict:
    """Name -> the folder of its experiment, and the Picture: all PICTURES of experiments/*/pictures.py."""
    return _registered("pictures", "PICTURES")


def _registered(module: str, registry: str) -> dict:
    by_name = {}
    for path in sorted(HERE.glob(f"*/{module}.py")):
        entries = getattr(importlib.import_module(f"experiments.{path.parent.name}.{module}"), registry)
        for name, entry in entries.items():
            if name in by_name:
                raise ValueError(f"{path}: {name} is in {by_name[name][0]} already")
            by_name[name] = (path.parent, entry)
    return by_name


def results(folder: Path, names: tuple[str, ...]) -> list:
    """The results of an experiment; `log` are its runs whose logs are kept."""
    return [kept_runs(folder) if name == "log" else read_result(folder / f"{name}.json") for name in names]


def not_measured(folder: Path, names: tuple[str, ...]) -> str:
    """A line that says which of some results has not been measured, or nothing."""
    paths = [folder / ("log" if name == "log" else f"{name}.json") for name in names]
    missing = [path.name for path in paths if not path.exists()]
    command = f"`experiments/{folder.name}/README.md` has the command of"
    return f"Not measured yet; {command} {missing[0]}.\n" if missing else ""


def table(name: str, _page: Path) -> str:
    """A table as Markdown, or a line that says which result has not been measured."""
    folder, entry = tables()[name]
    return not_measured(folder, entry.results) or entry.make(*results(folder, entry.results))


def picture(name: str, page: Path) -> str:
    """A picture as HTML that a page shows in the colours of its reader, or a line as of a table."""
    folder, entry = pictures()[name]
    if line := not_measured(folder, entry.results):
        return line
    words = escape(entry.alt(*results(folder, entry.results)))
    light, dark = (Path(os.path.relpath(file_of(name, theme), page.parent)).as_posix() for theme in THEMES)
    return (
        f'<picture>\n<source media="(prefers-color-scheme: dark)" srcset="{dark}">\n'
        f'<img src="{light}" width="{WIDTH}" alt="{words}">\n</picture>\n'
    )


def file_of(name: str, theme: str) -> Path:
    return pictures()[name][0] / f"{name}-{theme}.svg"


def drawn() -> dict[Path, str]:
    """Every picture that has been measured, in its variants: file -> SVG."""
    files = {}
    for name, (folder, entry) in pictures().items():
        if not not_measured(folder, entry.results):
            data = results(folder, entry.results)
            files |= {file_of(name, theme): entry.draw(colours, *data) for theme, colours in THEMES.items()}
    return files


def claim(name: str, _page: Path) -> str:
    """What the two arms of an experiment show, as the heading of their page says it."""
    return f"## {claim_of(kept_runs(HERE / name))['heading']}\n"


def config(name: str, _page: Path) -> str:
    """A config file as a block of code."""
    return f"```python\n{(ROOT / 'config' / f'{name}.py').read_text(encoding='utf-8')}```\n"


def question(name: str, _page: Path) -> str:
    """The question at the top of a config file."""
    text = (ROOT / "config" / f"{name}.py").read_text(encoding="utf-8")
    comment = " ".join(re.match(r"(# .*\n)+", text)[0].replace("# ", "").splitlines())
    return re.match(r"Question: (.*?\?)", comment)[1] + "\n"


MAKERS = {"table": table, "picture": picture, "claim": claim, "config": config, "question": question}


def fill(page: Path) -> str:
    """A page with everything between its markers made anew."""
    text = page.read_text(encoding="utf-8")
    return MARKER.sub(lambda block: f"{block[1]}{MAKERS[block[2]](block[3], page)}{block[4]}", text)


def pages() -> list[Path]:
    """Every text that may hold a marker."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(HERE.glob("**/README.md"))]


def main(argv: list[str]) -> int:
    parser = ArgumentParser(__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    check, stale = parser.parse_args(argv).check, []
    for path, made in ({page: fill(page) for page in pages()} | drawn()).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != made:
            stale.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.write_text(made, encoding="utf-8")
    if check and stale:
        print(f"{', '.join(stale)}: not what the results say; run: python -m experiments", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    run_door(main)
