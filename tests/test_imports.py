"""The architecture, read from the files: the order of the packages, no circle, the limits, README's tree."""

import ast
import graphlib
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOORS = {path.stem for path in ROOT.glob("*.py")} - {"model"}
# A package imports only from its own and from those on lines above it; on one line, not from each other.
ORDER = (
    {"reslab.nn", "reslab.run"},
    {"reslab.residual"},
    {"reslab.model"},
    {"reslab.tiny"},
    {"reslab.data", "reslab.system", "reslab.report"},
    {"reslab.instruments"},
    {"reslab.training"},
    {"reslab.check", "reslab.__main__"},
    DOORS,
)
NEEDS_TORCH = {"reslab.report.trackers"}  # of the report; its other modules start without torch
FILE_LINES, FUNCTION_LINES = 300, 40
# "path" or "path:function" -> why it may be longer
LONG = {"reslab/residual.py": "one class per wiring, side by side"}


def modules() -> dict[str, Path]:
    """Dotted name -> file, of the doors, the model and everything in reslab."""
    modules = {path.stem: path for path in ROOT.glob("*.py")}
    modules["reslab.model"] = modules.pop("model")  # see reslab/__init__.py
    for path in (ROOT / "reslab").rglob("*.py"):
        modules[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return modules


MODULES = modules()


def imports(path: Path, top_level: bool = False) -> set[str]:
    """Modules that a file imports, anywhere in it or at its top level only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = set()
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            imported |= inside & set(MODULES) or {node.module}
    return imported


def place(module: str) -> tuple[int, str]:
    """The line of ORDER that a module stands on, and its name there."""
    for line, names in enumerate(ORDER):
        for name in names:
            if module == name or module.startswith(f"{name}."):
                return line, name
    raise AssertionError(f"{module}: in no line of ORDER")


@pytest.mark.parametrize("module", [name for name in MODULES if name != "reslab"])
def test_a_package_imports_only_from_those_before_it(module):
    line, own = place(module)
    for other in imports(MODULES[module]) & set(MODULES) - {"reslab"}:
        before, theirs = place(other)
        assert theirs == own != "" or before < line, f"{module} imports {other}"
        assert not (own == theirs and own in DOORS), f"{module} imports the door {other}"


@pytest.mark.parametrize("module", MODULES)
def test_the_model_has_one_name(module):
    """In a wheel it is reslab.model alone; `import model` would find a file of the user's."""
    assert "model" not in imports(MODULES[module])


def test_there_is_no_circle():
    graph = {name: imports(path) & set(MODULES) for name, path in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()


def reach(module: str) -> set[str]:
    """Everything that importing a module brings in, seen through our own modules."""
    reached, open_ = set(), [module]
    while open_:
        for name in imports(MODULES[open_.pop()], top_level=True) - reached:
            reached.add(name)
            if name in MODULES:
                open_.append(name)
    return reached


@pytest.mark.parametrize(
    "module", [m for m in MODULES if m.startswith(("reslab.report", "reslab.run.settings"))]
)
def test_reports_and_settings_need_no_torch(module):
    if module not in NEEDS_TORCH:
        assert "torch" not in {name.split(".")[0] for name in reach(module)}


def sources() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True)
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.mark.parametrize("name", sources())
def test_files_and_functions_stay_short(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= FILE_LINES or name in LONG, f"{name}: {len(text.splitlines())} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            key = f"{name}:{node.name}"
            assert length <= FUNCTION_LINES or key in LONG, f"{key}: {length} lines"


def test_nothing_is_listed_as_long_that_is_short():
    for key in LONG:
        name, _, function = key.partition(":")
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        lengths = [
            node.end_lineno - node.lineno + 1
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name == function
        ]
        longest = max(lengths) if function else len((ROOT / name).read_text(encoding="utf-8").splitlines())
        assert longest > (FUNCTION_LINES if function else FILE_LINES), key


def test_the_tree_of_the_readme_is_the_real_one():
    """Every module of reslab stands in it once, and nothing else does."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = re.search(r"<!-- tree -->\n```\n(.*?)```", readme, re.DOTALL).group(1)
    shown, package = set(), ""
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        word = line.split()[0] if line.strip() else ""
        if word.endswith("/"):
            package = word if indent == 0 else "reslab/" + word
            continue
        if word.endswith(".py"):
            shown.add(("" if indent == 0 else package if indent > 2 else "reslab/") + word)
    real = {name for name in sources() if name.startswith("reslab/") or "/" not in name}
    assert shown == {name for name in real if not name.endswith("__init__.py")}


def test_nothing_is_pickled():
    for path in [*MODULES.values(), *(ROOT / "data").rglob("*.py")]:
        assert not {"pickle", "dill", "joblib", "shelve", "marshal"} & imports(path), path
