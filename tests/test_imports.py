"""The parts never import the assembly: read from the imports themselves."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOORS = {path.stem for path in ROOT.glob("*.py")} - {"model"}
PARTS = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in (ROOT / "reslab").rglob("*.py")
    if path.stem != "__init__"
}
PARTS["model"] = ROOT / "model.py"


def imports(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it; of `from reslab import x`, reslab.x."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & set(PARTS)
            found |= inside or {node.module}
    return found


def reach(part: str) -> set[str]:
    """Everything that importing a part brings in, seen through our own modules."""
    found, open_ = set(), [part]
    while open_:
        for name in imports(PARTS[open_.pop()]) - found:
            found.add(name)
            if name in PARTS:
                open_.append(name)
    return found


@pytest.mark.parametrize("part", PARTS)
def test_no_part_imports_a_door(part):
    assert not {name.split(".")[0] for name in imports(PARTS[part])} & DOORS


TORCHLESS = ["reslab.report.figures", "reslab.report.html", "reslab.report.summary", "reslab.run.log"]
TORCHLESS += [part for part in PARTS if part.startswith("reslab.run.")]


@pytest.mark.parametrize("part", TORCHLESS)
def test_settings_and_pictures_need_no_torch(part):
    assert "torch" not in {name.split(".")[0] for name in reach(part)}


def test_there_is_no_circle():
    graph = {part: imports(path) & set(PARTS) for part, path in PARTS.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_nothing_is_pickled():
    for path in [*ROOT.glob("*.py"), *(ROOT / "reslab").rglob("*.py"), *(ROOT / "data").rglob("*.py")]:
        assert not {"pickle", "dill", "joblib", "shelve", "marshal"} & imports(path), path
