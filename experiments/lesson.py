"""Executes docs/lesson.ipynb and keeps in it what its cells print and draw.

    python -m experiments.lesson

It takes some two minutes on a laptop. Nothing that differs from run to run is kept: no times, no paths.
"""

from pathlib import Path

from reslab.run.arguments import ArgumentParser
from reslab.run.config import run_door

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "lesson.ipynb"


def executed(path: Path):
    """A notebook as it is after all of its cells have run, in their order, in a fresh kernel.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    import nbclient
    import nbformat

    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    client = nbclient.NotebookClient(book, timeout=600, kernel_name="python3", record_timing=False)
    client.execute(cwd=str(path.parent))
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    book.metadata.language_info = {"name": "python"}  # without the version of this machine
    return book


def joined(outputs: list) -> list:
    """Outputs in which what was printed in several pieces, as the clock had it, is one."""
    whole = []
    for output in outputs:
        if whole and output.output_type == "stream" and whole[-1].get("name") == output.name:
            whole[-1].text += output.text
        else:
            whole.append(output)
    return whole


def main(argv: list[str]) -> None:
    import nbformat

    ArgumentParser(__doc__).parse_args(argv)
    book = executed(NOTEBOOK)
    NOTEBOOK.write_text(nbformat.writes(book, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{NOTEBOOK}: {NOTEBOOK.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    run_door(main)
