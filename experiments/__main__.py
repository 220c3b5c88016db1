"""Writes the tables of README.md, docs/ and experiments/ from the results in experiments/.

    python -m experiments            rewrite what stands between the marks
    python -m experiments --check    change nothing

A table stands between <!-- table NAME --> and <!-- end -->. With --check the exit code is 1 when a
page and the results differ.

<!-- config NAME --> is filled with config/NAME.py, and <!-- question NAME --> with its first sentence.
"""

import importlib
import json
import re
from functools import cache
from pathlib import Path

from reslab.run.arguments import ArgumentParser

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MARKER = re.compile(r"(<!-- (table|config|question) (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


@cache
def tables() -> dict:
    """Name -> the folder of its experiment, and the Table: all TABLES of experiments/*/table.py."""
    by_name = {}
    for path in sorted(HERE.glob("*/table.py")):
        module = importlib.import_module(f"experiments.{path.parent.name}.table")
        for name, table in module.TABLES.items():
            if name in by_name:
                raise ValueError(f"{path}: a table {name} is in {by_name[name][0]} already")
            by_name[name] = (path.parent, table)
    return by_name


def table(name: str) -> str:
    """A table as Markdown, or a line that says which result has not been measured."""
    folder, entry = tables()[name]
    paths = [folder / f"{result}.json" for result in entry.results]
    if missing := [path.name for path in paths if not path.is_file()]:
        return f"Not measured yet; `experiments/{folder.name}/README.md` has the command of {missing[0]}.\n"
    return entry.make(*(json.loads(path.read_text(encoding="utf-8")) for path in paths))


def config(name: str) -> str:
    """A config file as a block of code."""
    return f"```python\n{(ROOT / 'config' / f'{name}.py').read_text(encoding='utf-8')}```\n"


def question(name: str) -> str:
    """The question at the top of a config file."""
    text = (ROOT / "config" / f"{name}.py").read_text(encoding="utf-8")
    comment = " ".join(re.match(r"(# .*\n)+", text)[0].replace("# ", "").splitlines())
    return re.match(r"Question: (.*?\?)", comment)[1] + "\n"


def fill(text: str) -> str:
    """A page with everything between its markers made anew."""
    makers = {"table": table, "config": config, "question": question}
    return MARKER.sub(lambda block: f"{block[1]}{makers[block[2]](block[3])}{block[4]}", text)


def pages() -> list[Path]:
    """Every text that may hold a marker."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(HERE.glob("**/README.md"))]


def main() -> None:
    parser = ArgumentParser(__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    check, stale = parser.parse_args().check, []
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = fill(before)
        if after != before:
            stale.append(str(page.relative_to(ROOT)))
            if not check:
                page.write_text(after, encoding="utf-8")
    if check and stale:
        raise SystemExit(f"{', '.join(stale)}: not what the results say; run: python -m experiments")


if __name__ == "__main__":
    main()
