"""Which test files fit a source file: those that reach it by imports, or by starting it as a program."""

import ast
import fnmatch
import functools
import math
import re
from collections import Counter, deque
from pathlib import Path

PROGRAM = re.compile(r"[\w/.*-]+\.py\b")
MODULE = re.compile(r"\b[a-z_]+(?:\.[a-z_0-9]+)+\b")


class Tree:
    """The repository's Python files and who uses whom.

    Args:
        root: of the repository.
        files: its files, from the root, with slashes.
    """

    def __init__(self, root: Path, files: list[str]):
        self.root = root
        self.files = {name for name in files if name.endswith(".py")}
        # Whether the lists of mutants fit the code says nothing about what the code does.
        tests = (name for name in self.files if Path(name).name.startswith("test_"))
        self.tests = sorted(name for name in tests if name != "tests/test_mutants.py")
        self._texts: dict[str, str] = {}
        self._uses: dict[str, set[str]] = {}
        self._away: dict[str, dict[str, int]] = {}

    def fitting(self, source: str, count: int) -> list[str]:
        """The `count` test files nearest to a source file; 0 is all that reach it.

        The one named after it comes first. The others by the words that they share with it and few other
        tests have, weighed by how near they are: what train.py reaches, nearly every test reaches. Words
        count twice in the folder that mirrors the source's package.
        """
        source_words, named = _words(self.text(source)), f"test_{Path(source).stem}.py"

        def order(test: str) -> tuple:
            score = sum(self._rarity.get(word, 0.0) for word in source_words & _words(self.text(test)))
            if Path(test).parent.name == Path(source).parent.name:  # tests mirror the packages
                score *= 2
            return Path(test).name != named, -score / self._distances(test)[source], test

        reach = [test for test in self.tests if source in self._distances(test)]
        return sorted(reach, key=order)[: count or None]

    @functools.cached_property
    def _rarity(self) -> dict[str, float]:
        """How much a word says about a test file: much when few have it."""
        counts = Counter(word for test in self.tests for word in _words(self.text(test)))
        return {word: math.log(len(self.tests) / count) for word, count in counts.items()}

    def _distances(self, test: str) -> dict[str, int]:
        """How many imports away from a test file the others are."""
        if test not in self._away:
            distances, waiting = {test: 0}, deque([test])
            while waiting:
                name = waiting.popleft()
                for other in self.uses(name) - distances.keys():
                    distances[other] = distances[name] + 1
                    waiting.append(other)
            self._away[test] = distances
        return self._away[test]

    def text(self, name: str) -> str:
        """A file of the working tree, as it was when it was first asked for."""
        if name not in self._texts:
            self._texts[name] = (self.root / name).read_text(encoding="utf-8")
        return self._texts[name]

    def uses(self, name: str) -> set[str]:
        """The files that a file imports; of a test also the programs that it names."""
        if name not in self._uses:
            text = self.text(name)
            imported = self._imports(name, ast.parse(text))
            if name.startswith("tests/"):
                joined = text.replace('" / "', "/")
                for word in set(PROGRAM.findall(joined)):
                    imported |= set(self._programs(word))
                imported |= {path for word in MODULE.findall(joined) if (path := self._path(word))}
            # Every test comes with conftest.py, which says nothing about what it tests.
            self._uses[name] = {path for path in imported if Path(path).name != "conftest.py"} - {name}
        return self._uses[name]

    def _programs(self, word: str) -> list[str]:
        """The files of a path in which folders may be *; one whose name is * says nothing about any file."""
        return [] if "*" in Path(word).name else fnmatch.filter(self.files, word)

    def _imports(self, name: str, tree: ast.AST) -> set[str]:
        imported = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                package = Path(name).parents[node.level - 1].as_posix() if node.level else ""
                module = ".".join(filter(None, [package.replace("/", "."), node.module]))
                modules = [module, *(f"{module}.{alias.name}" for alias in node.names)]
            else:
                continue
            imported |= {path for word in modules if (path := self._path(word))}
        return imported

    def _path(self, module: str) -> str | None:
        """The file of a module; tests import from their own folder too, and model.py is reslab.model."""
        stem = module.replace(".", "/")
        places = [f"{folder}{stem}{end}" for folder in ("", "tests/") for end in (".py", "/__init__.py")]
        places.append(f"{stem.removeprefix('reslab/')}.py")
        return next((place for place in places if place in self.files), None)


@functools.cache
def _words(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z_]{4,}", text))
