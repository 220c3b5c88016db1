"""Mutants made by rule: a comparison, a sign, a constant, a call that is changed, drawn by a seed.

Nobody chose them, so they find what nobody thought of; and nobody sorted them, so some change nothing that a
test could see. Such a one is written into a list by hand, with its reason: the draw then takes another.
"""

import ast
import copy
import itertools
import random
from collections.abc import Iterator

from .mutant import Mutant

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
}
NAMES = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "mean": "sum",
    "sum": "mean",
    "argmax": "argmin",
    "cos": "sin",
    "sin": "cos",
    "sorted": "list",
    "zeros": "ones",
    "ones": "zeros",
    "detach": "clone",
    "triu": "tril",
    "floor": "ceil",
    "startswith": "endswith",
}
AXES = {0: 1, 1: 0, -1: 0, 2: 1, -2: -1}
TEXT = (ast.JoinedStr, ast.List, ast.ListComp, ast.Tuple)  # adding them is no arithmetic


def drawn(path: str, text: str, count: int, seed: int, taken: set[str]) -> list[Mutant]:
    """`count` mutants of a file, or as many as there are.

    Args:
        taken: texts that hand-written mutants of this file make; a mutant that makes one of them is left out.
    """
    mutants = list(candidates(path, text))
    random.Random(f"{seed} {path}").shuffle(mutants)
    return list(itertools.islice((m for m in mutants if m.apply(text) not in taken), count))


def candidates(path: str, text: str) -> Iterator[Mutant]:
    """Every mutant that the rules make of a file, in the order of its text."""
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))

    def offset(number: int, column: int) -> int:  # columns are counted in bytes
        return starts[number - 1] + len(lines[number - 1].encode()[:column].decode())

    for node in _computing(ast.parse(text)):
        start, end = offset(node.lineno, node.col_offset), offset(node.end_lineno, node.end_col_offset)
        for new in _changes(node):
            old = text[start:end]
            about = " ".join(f"{old} -> {new}".split())
            yield Mutant(path, about if len(about) <= 150 else f"{about[:147]}...", old, new, start=start)


def _computing(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a tree that say what is computed: no annotations, messages, decorators or doors."""
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
        return
    if hasattr(node, "lineno"):
        yield node
    for name, field in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in field if isinstance(field, list) else [field]:
                if isinstance(child, ast.AST):
                    yield from _computing(child)


def _changes(node: ast.AST) -> Iterator[str]:
    """New texts of a node."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            new = copy.deepcopy(node)
            new.ops[place] = COMPARISONS[type(operator)]()
            yield f"({ast.unparse(new)})"
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not _is_text(node):
        yield f"({ast.unparse(ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right))})"
    elif isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC and not _is_text(node):
        yield ast.unparse(ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value))
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield f"({ast.unparse(ast.BoolOp(other, node.values))})"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.IfExp):
        yield f"({ast.unparse(ast.IfExp(node.test, node.orelse, node.body))})"
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield str(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield str(node.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield repr(node.value * 2 or 1.0)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "pass"
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, ast.keyword) and node.arg in ("dim", "axis") and _number(node.value) in AXES:
        yield f"{node.arg}={AXES[_number(node.value)]}"


def _calls(node: ast.Call) -> Iterator[str]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name == "dropout":
        yield ast.unparse(node.args[0])
    elif name in NAMES and not (isinstance(node.func, ast.Name) and name == "sum"):
        new = copy.deepcopy(node)
        setattr(new.func, "attr" if isinstance(node.func, ast.Attribute) else "id", NAMES[name])
        yield ast.unparse(new)


def _is_text(node) -> bool:
    parts = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.value,)
    return any(isinstance(p, TEXT) or isinstance(getattr(p, "value", None), str) for p in parts)


def _number(node: ast.AST) -> int | None:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
