"""The project's pages as a static site, from what the repository keeps.

    python -m reslab.report.site --out site --project https://...
    python -m reslab.report.site --keep experiments/deep runs/deep/*

The first writes index.html and a page for each of PAGES; the second keeps the logs of some runs for its page.
"""

from html import escape
from pathlib import Path
from string import Template

from reslab.report.claim import claim
from reslab.report.html import WEB, html
from reslab.report.kept import keep, kept_autopsy, kept_runs
from reslab.report.notebook import notebook_html
from reslab.report.pagedata import page_data
from reslab.run.arguments import ArgumentParser, home_path, output_folder
from reslab.run.config import run_door
from reslab.run.files import write_atomically

ROOT = Path(__file__).resolve().parents[2]
# Experiment -> the name of its page, and what a visitor finds there.
PAGES = {
    "laptop": ("24-layers", "24 layers, three minutes on a laptop"),
    "deep": ("48-layers", "48 layers"),
    "thousand": ("1000-layers", "1000 layers"),
    "study": ("study", "What a plain stack is not saved by: rates, optimizers, starts, precision"),
}
LESSON = ROOT / "docs" / "lesson.ipynb"


def build(out: Path, project: str = "") -> list[Path]:
    """Write the site; returns its files.

    Args:
        project: the address of the repository, which the pages link to; empty for none.

    Raises:
        ValueError: what the repository keeps is damaged.
    """
    out.mkdir(parents=True, exist_ok=True)
    entries, files = [], []
    for experiment, (name, title) in PAGES.items():
        runs = kept_runs(ROOT / "experiments" / experiment)
        if not runs:
            continue
        runs = sorted(runs, key=lambda run: run.config["residual"] != "pre")
        files.append(out / f"{name}.html")
        data = page_data(runs, title)
        for entry in data["runs"]:
            arm = entry["config"]["residual"]
            entry["autopsy"] = kept_autopsy(ROOT / "experiments" / experiment / f"autopsy-{arm}.json")
        write_atomically(files[-1], html(data, project=project))
        entries.append((files[-1].name, title, _sentence(runs)))
    files += [out / "lesson.html", out / "index.html"]
    lesson = notebook_html(LESSON, lambda address: _link(address, project))
    write_atomically(
        files[-2], text_page("The lesson, as a notebook", _back() + _colab(project) + lesson, project)
    )
    write_atomically(files[-1], text_page("y = x + F(x)", index(entries), project))
    return files


def _sentence(runs: list) -> str:
    """What the losses of an experiment say, or how many runs it has."""
    about = claim(runs) if len(runs) <= 4 else None
    return about["heading"] if about else f"{len(runs)} runs."


def index(entries: list[tuple[str, str, str]]) -> str:
    """The body of the first page: a line for each page."""
    lines = [
        f'<li><a href="{name}">{escape(title)}</a><br>{escape(sentence)}</li>'
        for name, title, sentence in [
            *entries,
            ("lesson.html", "The lesson, as a notebook", "Every claim is a cell that measures it."),
        ]
    ]
    return (
        "<p>A GPT is trained with its skips, and the same GPT without them. Each page shows what was "
        "measured on the way; one part of it trains two small stacks in your browser.</p>\n"
        f"<ul class='pages'>{''.join(lines)}</ul>"
    )


def text_page(title: str, body: str, project: str) -> str:
    """A page of text, without scripts."""
    link = (
        f'<a href="{escape(project)}">The project</a>: its code, and how to run it yourself.'
        if project
        else ""
    )
    template = Template((WEB / "text.html").read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), body=body, project=link)


def _back() -> str:
    return '<p><a href="index.html">All pages</a></p>\n'


def _colab(project: str) -> str:
    """The button that opens the notebook on Colab, which reads it from GitHub; empty for another host."""
    repository = project.removeprefix("https://github.com/")
    if repository == project:
        return ""
    address = f"https://colab.research.google.com/github/{repository}/blob/main/docs/{LESSON.name}"
    told = f"put {escape(project)} into REPOSITORY in its first cell"
    return f'<p><a href="{escape(address)}">Open in Colab</a> ({told})</p>\n'


def _link(address: str, project: str) -> str:
    """A link of docs/lesson.ipynb on the site: what is elsewhere in the repository is at the project."""
    if "://" in address or address.startswith("#"):
        return address
    path = (LESSON.parent / address.partition("#")[0]).resolve()
    if not path.is_relative_to(ROOT):
        return "index.html"
    return f"{project}/blob/main/{path.relative_to(ROOT).as_posix()}" if project else "index.html"


ALLOWED = ([True, False, False], [False, True, True])  # which of --out, --keep and RUN... may be given


def main(argv: list[str]) -> None:
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("--out", type=output_folder, metavar="DIR", help="the folder to write")
    project = "the address of the repository, which the pages link to"
    add("--project", default="", metavar="ADDRESS", help=project)
    add("--keep", type=output_folder, metavar="EXPERIMENT", help="the folder for the runs' logs")
    add("runs", type=home_path, nargs="*", default=[], metavar="RUN", help="run directories, with --keep")
    options = parser.parse_args(argv)
    if [bool(part) for part in (options.out, options.keep, options.runs)] not in ALLOWED:
        parser.error("give --out FOLDER, or --keep EXPERIMENT RUN...")
    for run in options.runs:
        print(keep(run, options.keep))
    if options.out:
        for path in build(options.out, options.project.rstrip("/")):
            print(f"{path}, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_door(main)
