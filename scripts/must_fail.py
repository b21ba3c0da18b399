"""Make the changes of `scripts/must_fail.toml` one at a time, and check that the tests of each then fail.

Usage: `python -m scripts.must_fail [WORD …]`: with words, only the changes with one of them in the sentence.
Without words, the results are written to `docs/mutants.md`.

A change is made in a copy of the tree, in a temporary folder. First, all tests of the changes run on the
unchanged code. Exit status 1: a test passes with its change; 2: a test fails without it, or cannot be run, or
the table does not fit the code.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

from scripts import migrated
from scripts.mutant_page import BY_HAND, ROOT, Page, Row, commit, table_row, today

SECONDS = 120  # for one run of tests with a change: it may hang


class NotRun(Exception):
    """pytest ended without a result for each test. The message is its output."""


@dataclass(frozen=True, eq=False)
class Change:
    """A change of one file, and the tests that must fail with it on these engines."""

    what: str
    file: str
    tests: Sequence[str]
    edits: Sequence[Mapping[str, str]]
    engines: Sequence[str] = ("sqlite",)

    def made(self, source: str) -> str:
        """Return the source of the file with the change."""
        for edit in self.edits:
            source = source.replace(edit["before"], edit["after"])
        return source

    def misfits(self) -> Iterator[str]:
        """Yield a sentence for each text that does not occur exactly once, and each test that is missing."""
        source = (ROOT / self.file).read_text(encoding="utf-8")
        for edit in self.edits:
            if (count := source.count(edit["before"])) != 1:
                yield f"{self.what}: {edit['before']!r} occurs {count} times in {self.file}"
        for test in self.tests:
            file, _, function = test.partition("::")
            if function not in functions(file):
                yield f"{self.what}: there is no {test}"


@cache
def functions(file: str) -> frozenset[str]:
    """Return the names of a file's functions; none, if there is no such file."""
    source = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).exists() else ""
    return frozenset(node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))


def changes() -> list[Change]:
    """Return the changes of the table."""
    table: dict[str, Any] = tomllib.loads((ROOT / BY_HAND).read_text(encoding="utf-8"))
    return [Change(**each) for each in table["change"]]


class Copy:
    """A copy of the tree in which tests run, with a migrated database for SQLite."""

    def __init__(self, folder: str) -> None:
        self.tree = Path(folder, "tree")
        for name in ("bursary", "tests"):
            shutil.copytree(ROOT / name, self.tree / name)  # with bytecode, and the times that keep it valid
        shutil.copy2(ROOT / "pyproject.toml", self.tree)
        self._environment = {"sqlite": migrated.database(folder), "postgres": {}, "mariadb": {}}

    def failed(self, tests: Sequence[str], engine: str) -> set[str]:
        """Run these tests; return those that fail. Raises NotRun on any other error."""
        options = ["-n0", "-q", "-rf", "--tb=no", "-p", "no:cacheprovider", "-p", "no:randomly"]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "BURSARY_TEST_DB": engine}
        run = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=self.tree,
            env={**environment, **self._environment[engine]},
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS * len(tests),
        )
        failed = set(re.findall(r"^FAILED ([^\s\[]+)", run.stdout, re.MULTILINE))
        if run.returncode != bool(failed):
            raise NotRun(run.stdout[-2000:] + run.stderr[-2000:])
        return failed

    def notices(self, change: Change, engine: str) -> bool:
        """Return whether every test of this change fails with it."""
        file = self.tree / change.file
        file.write_text(change.made(file.read_text(encoding="utf-8")), encoding="utf-8")
        try:
            return self.failed(change.tests, engine) == set(change.tests)
        finally:
            shutil.copy2(ROOT / change.file, file)


def run(chosen: Sequence[Change]) -> Mapping[tuple[Change, str], bool]:
    """Return by change and engine whether its tests fail."""
    pairs = [(change, engine) for change in chosen for engine in change.engines]
    with tempfile.TemporaryDirectory(prefix="bursary-must-fail-") as folder:
        copy = Copy(folder)
        for engine in sorted({engine for _change, engine in pairs}):
            tests = sorted({test for change, on in pairs if on == engine for test in change.tests})
            if failed := copy.failed(tests, engine):
                raise NotRun(f"Without a change these fail on {engine}: {', '.join(sorted(failed))}")
        found = {}
        for number, (change, engine) in enumerate(pairs, 1):
            began = perf_counter()
            found[change, engine] = copy.notices(change, engine)
            outcome = "fails" if found[change, engine] else "PASSES"
            seconds = perf_counter() - began
            print(
                f"{number}/{len(pairs)} {outcome} on {engine} in {seconds:.1f} s: {change.what}", flush=True
            )
        return found


def write(found: Mapping[tuple[Change, str], bool], *, tree: str) -> None:
    """Write the row and the section of these changes."""
    page = Page()
    killed = {change: all(f for (one, _engine), f in found.items() if one is change) for change, _ in found}
    page.rows[BY_HAND] = Row(len(killed), sum(killed.values()), 0, today(tree))
    lines = [table_row(("change", "tests that fail with it", "on")), table_row(["---"] * 3)]
    for change in killed:
        on = ", ".join(e if found[change, e] else f"**passes** on {e}" for e in change.engines)
        tests = "<br>".join(f"{test.removeprefix('tests/').replace('::', ': `')}`" for test in change.tests)
        lines.append(table_row([change.what, tests, on]))
    page.sections[BY_HAND] = "\n".join(lines)
    page.write()


def main(words: Sequence[str]) -> int:
    """Make the changes; return the exit status."""
    chosen = [each for each in changes() if not words or any(word in each.what for word in words)]
    if misfits := [sentence for change in chosen for sentence in change.misfits()]:
        print("\n".join(misfits), file=sys.stderr)
        return 2
    tree = commit()
    try:
        found = run(chosen)
    except NotRun as error:
        print(error, file=sys.stderr)
        return 2
    if not words:
        write(found, tree=tree)
    unnoticed = sum(not fails for fails in found.values())
    print(f"{len(found)} runs of {len(chosen)} changes; {unnoticed} without a failing test")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
