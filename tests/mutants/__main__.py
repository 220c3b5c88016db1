"""Put one mistake at a time into a copy of the code and run the tests that fit the changed file.

    python -m tests.mutants --only reslab/run/ --jobs 2      of these files
    python -m tests.mutants --sample 30                      a few of all

A mutant that some test notices is killed; one that all of them pass has survived, and says which test is
missing. Results are kept in .mutants/ and asked for again only when the source or one of the tests has
changed.

Mutants are of two kinds: those of tests/mutants/list, written by hand, and a few of each file made by rule.
Exit code: 0; 1 when a hand-written mutant is stale or a test fails without any mutant.
"""

import os
import random
import signal
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from reslab.run.arguments import ArgumentParser

from . import operators
from .fitting import Tree
from .mutant import Mutant, StaleError, read_lists
from .running import ROOT, Copy, Store, digest, tracked

NOT_MUTATED = ("tests/", "config/", "docs/")
LEAST_S = 120  # a test file is given this long, or LIMIT times what it takes without a mutant
LIMIT = 6
NEAR = 6  # test files that notice most of what is noticed
SLOW = {False: (), True: ("-m", "slow and not cluster")}  # how pytest is asked for the tests of a part
STATUS = {"failed": "killed", "timeout": "timeout", "survived": "survived"}


class Part(NamedTuple):
    """The fast or the slow tests of a file."""

    test: str
    slow: bool = False


def collect(tree: Tree, per_file: int, seed: int) -> tuple[list[Mutant], dict[Mutant, str]]:
    """All mutants, hand-written ones first in their order; and those that are stale, with the reason.

    By rule only what some test reaches is changed: of the rest it is known that nobody would notice.
    """
    mutants, stale = [], {}
    made: dict[str, set[str]] = {}
    for mutant in read_lists():
        try:
            made.setdefault(mutant.path, set()).add(mutant.apply(tree.text(mutant.path)))
            mutants.append(mutant)
        except (OSError, StaleError) as error:
            stale[mutant] = str(error)
    for path in sorted(tree.files):
        if not path.startswith(NOT_MUTATED) and tree.fitting(path, 1):
            mutants += operators.drawn(path, tree.text(path), per_file, seed, made.get(path, set()))
    return mutants, stale


def chosen(mutants: list[Mutant], args) -> list[Mutant]:
    if args.only:
        mutants = [mutant for mutant in mutants if mutant.path.startswith(tuple(args.only))]
    if args.sample and args.sample < len(mutants):
        mutants = random.Random(args.seed).sample(mutants, args.sample)
    return mutants


def _helps(name: str) -> bool:
    """Whether a file is what tests share: no test, and no part of this package."""
    own = name.startswith("tests/mutants/") or Path(name).name.startswith("test_")
    return name.startswith("tests/") and name.endswith(".py") and not own


class Session:
    """The mutants of one call, and what is known of them."""

    def __init__(self, root: Path, files: list[str], args):
        self.root, self.files, self.args = root, files, args
        self.tree = Tree(root, files)
        self.store = Store(root / ".mutants" / "results.jsonl")
        sources = [name for name in files if name.endswith(".py") and not name.startswith("tests/")]
        self._all_sources = digest(*(self.read(name) for name in sources))
        self._helpers = digest(*(self.read(name) for name in files if _helps(name)))
        self.limits: dict[Part, float] = {}
        self.stopped = False

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def parts(self, mutant: Mutant) -> list[Part]:
        """What is run for a mutant: the nearest tests first, then the fastest of those near, then all others;
        after the fast tests of all files the slow ones."""
        files = [Part(test) for test in self.tree.fitting(mutant.path, self.args.files)]
        near, far = files[1:NEAR], files[NEAR:]
        fast = [*files[:1], *sorted(near, key=lambda part: self.limits.get(part, 0)), *far]
        return [*fast, *(Part(part.test, slow=True) for part in fast if self.args.slow)]

    def key(self, mutant: Mutant, part: Part) -> str:
        """Of what a part says to a mutant: another one once the source or the test has changed."""
        made = mutant.apply(self.tree.text(mutant.path))
        return digest(
            mutant.path, made, self._helpers, part.test, self.tree.text(part.test), *SLOW[part.slow]
        )

    def known(self, mutant: Mutant) -> dict | None:
        """The result of a mutant, when enough test files have been run: one that noticed, or all."""
        keys = [self.key(mutant, part) for part in self.parts(mutant)]
        rows = [self.store.rows.get(key) for key in keys]
        noticed = [row for row in rows if row and row["status"] != "passed"]
        return noticed[0] if noticed else {"status": "survived", "test": ""} if all(rows) else None

    def measure(self, copy: Copy, mutants: list[Mutant]) -> list[str]:
        """Run every test file that is needed once, without a mutant; returns those that fail."""
        needed = sorted({part for mutant in mutants for part in self.parts(mutant)})
        failing = []
        for part in needed:
            test, slow = part
            key = digest("clean", test, self.read(test), self._helpers, self._all_sources, *SLOW[slow])
            row = self.store.rows.get(key)
            if row is None:
                copy.restore()
                row = copy.test(test, 1200, SLOW[slow])
                print(f"without a mutant: {test}: {row['status']} in {row['seconds']:.0f} s", flush=True)
                if row["status"] == "passed":
                    self.store.add(key, row)
            if row["status"] != "passed":
                failing.append(row["test"])
            self.limits[part] = max(LEAST_S, LIMIT * row["seconds"])
        return failing

    def run(self, mutants: list[Mutant], folder: Path) -> dict[Mutant, dict]:
        """Results of all mutants; those that are not known yet are run, in copies of the tree in a folder."""
        results = {mutant: row for mutant in mutants if (row := self.known(mutant))}
        waiting = [mutant for mutant in mutants if mutant not in results]
        if not waiting:
            return results
        now = Copy(self.root, self.files, folder / "now").folder  # the tree may change while this runs
        jobs = range(max(1, self.args.jobs))
        copies = [Copy(now, self.files, folder / str(job)) for job in jobs]
        if failing := self.measure(copies[0], waiting):
            raise SystemExit(f"error: these fail without any mutant: {', '.join(failing)}")
        free: SimpleQueue[Copy] = SimpleQueue()
        for copy in copies:
            free.put(copy)

        def one(mutant: Mutant) -> None:
            copy = free.get()
            self.try_mutant(copy, mutant)
            free.put(copy)
            results[mutant] = row = self.known(mutant)
            where = f"  ({row['test']})" if row["test"] else ""
            head = f"[{len(results)}/{len(mutants)}] {STATUS[row['status']]:<8}"
            print(f"{head} {self.title(mutant)}{where}", flush=True)

        with ThreadPoolExecutor(len(copies)) as pool:
            try:
                list(pool.map(one, waiting))
            except KeyboardInterrupt:
                self.stopped = True
                pool.shutdown(wait=False, cancel_futures=True)
                for copy in copies:
                    copy.stop()
                raise
        return results

    def try_mutant(self, copy: Copy, mutant: Mutant) -> None:
        """Run test files that have not seen a mutant yet, until one notices."""
        copy.put(mutant)
        for part in self.parts(mutant):
            key = self.key(mutant, part)
            if key not in self.store.rows:
                row = copy.test(part.test, self.limits[part], SLOW[part.slow])
                if self.stopped:  # the tests were ended, and have noticed nothing
                    raise SystemExit
                self.store.add(key, row | {"mutant": self.title(mutant)})
            if self.store.rows[key]["status"] != "passed":
                return

    def title(self, mutant: Mutant) -> str:
        return f"{mutant.path}:{mutant.line(self.tree.text(mutant.path))}: {mutant.about}"


def report(session: Session, results: dict[Mutant, dict], equal: list[Mutant], stale: dict) -> None:
    """Counts, then every mutant that asks for something to be done."""
    counts = Counter(STATUS[row["status"]] for row in results.values())
    explained = [m for m, row in results.items() if m.survives and row["status"] == "survived"]
    killed = counts["killed"] + counts["timeout"]
    print(f"\n{len(results)} run: {killed} killed ({counts['timeout']} by a timeout)", end=", ")
    print(f"{counts['survived']} survived ({len(explained)} of them explained)", end=", ")
    print(f"{len(equal)} equivalent and {len(stale)} stale ones not run")
    for mutant, row in results.items():
        if row["status"] == "survived" and not mutant.survives:
            print(f"survived: {session.title(mutant)}")
        elif mutant.survives and row["status"] != "survived":
            print(f"killed, so the list need not explain it: {session.title(mutant)}")
    for mutant, reason in stale.items():
        print(f"stale: {mutant.path}: {mutant.about}: {reason}", file=sys.stderr)


def main() -> int:
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("--only", action="append", metavar="PATH", help="mutants of files whose path begins so")
    add("--sample", type=int, default=0, metavar="N", help="N of the mutants, drawn by the seed")
    add("--seed", type=int, default=0, metavar="N", help="of the draws (default: 0)")
    add("--per_file", type=int, default=1, metavar="N", help="mutants by rule of each file (default: 1)")
    add("--files", type=int, default=0, metavar="N", help="nearest test files to run; 0 is all (default: 0)")
    add("--jobs", type=int, default=1, metavar="N", help="mutants at the same time (default: 1)")
    add("--slow", action="store_true", help="what the fast tests pass, the slow ones see too")
    add("--list", action="store_true", help="print the mutants and their tests, and stop")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # no test outlives this process
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported where the tests are run
    files = tracked(ROOT)
    session = Session(ROOT, files, args)
    mutants, stale = collect(session.tree, args.per_file, args.seed)
    mutants = chosen(mutants, args)
    equal = [mutant for mutant in mutants if mutant.equivalent]
    rest = [mutant for mutant in mutants if not mutant.equivalent]
    if args.list:
        for mutant in mutants:
            print(session.title(mutant), "  ", *(Path(part.test).stem for part in session.parts(mutant)))
        print(f"{len(rest)} mutants, {len(equal)} equivalent, {len(stale)} stale")
    else:
        with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
            try:
                results = session.run(rest, Path(folder))
            except KeyboardInterrupt:
                print("stopped; the same command goes on from here", file=sys.stderr)
                return 130
        report(session, results, equal, stale)
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
