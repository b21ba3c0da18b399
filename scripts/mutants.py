"""Make mutants of the core, run tests with each, and write the survivors to `docs/mutants.md`.

Usage: `python -m scripts.mutants [NAME …]`, where a name is a mutant's or a pattern, such as
`bursary.budgets.ledger.*`; without names every mutant is run.

The page has a row for each module. A run of all of a module's mutants rewrites the row and the survivors; a
run of some of them only prints. The last column of the survivors, the reason why a change changes nothing, is
written by hand. It is kept while the same change of the same function survives.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mutmut.__main__ import create_mutants
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.file_mutation import MutatedFile, mutate_file_contents
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, setup_source_paths

from scripts import migrated
from scripts.mutant_page import PAGE, ROOT, Page, Row, commit, table_row, today

DECORATED = re.compile(
    r"^@(Prepared\w+|repeated_after_deadlocks)\n(def (\w+)\(.*(?:\n\n?[ )].*)+)\n", re.MULTILINE
)
"""A function with a decorator that takes only the function, and its name."""
SURVIVORS = ("function", "change", "why it changes nothing")


@dataclass(frozen=True)
class Mutant:
    """One change, and the result of its tests."""

    module: str
    name: str
    status: str

    @property
    def function(self) -> str:
        """Return the package, module and name of the changed function, without mutmut's marks."""
        module, _, mangled = self.name.partition("__mutmut_")[0].rpartition(".")
        name = mangled.removeprefix("x").strip("_ǁ").replace("ǁ", ".")
        return f"{module.removeprefix('bursary.')}.{name}"


def run(names: list[str]) -> int:
    """Make the mutants and run tests with each on SQLite; return the exit status."""
    shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="bursary-mutants-") as folder:
        os.environ |= migrated.database(folder)
        make()
        reasons = Page().reasons
        of_these = [one for one in results() if one.function in {function for function, _what in reasons}]
        explained = [one.name for one in of_these if reasons.get((one.function, change(one)))]
        Path("mutants/explained.json").write_text(json.dumps(explained), encoding="utf-8")
        command = [sys.executable, str(ROOT / "scripts" / "mutant_runner.py"), *names]
        return subprocess.run(command, cwd=ROOT / "mutants", check=False).returncode


def make() -> None:
    """Write every mutant by mutmut."""
    set_mutant_under_test("mutant_generation")
    Path("mutants").mkdir(exist_ok=True)
    with (
        redirect_stdout(StringIO()),  # mutmut prints the name of every file
        patch("mutmut.__main__.mutate_file_contents", mutated),  # inherited by the process that it forks
    ):
        copy_src_dir()
        copy_also_copy_files()
        setup_source_paths()
        create_mutants(max_children=1)


def mutated(filename: str, code: str, *more: Any, **options: Any) -> MutatedFile:
    """Mutate a file, with its decorators as calls below the functions: mutmut skips decorated functions."""
    return mutate_file_contents(filename, DECORATED.sub(r"\2\n\n\3 = \1(\3)\n", code), *more, **options)


def results() -> Iterator[Mutant]:
    """Yield every mutant of the last run, by module and in the order of the source."""
    for meta in sorted((ROOT / "mutants").rglob("*.py.meta")):
        module = meta.relative_to(ROOT / "mutants").as_posix().removesuffix(".meta")
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            yield Mutant(module, name, status_by_exit_code[code])


def change(mutant: Mutant) -> str:
    """Return the change, as `before` → `after`, on one line."""
    diff = get_diff_for_mutant(mutant.name, path=mutant.module).splitlines()[2:]
    before, after = (_cell(line[1:] for line in diff if line.startswith(sign)) for sign in "-+")
    return f"{before} → {after}"


def _cell(lines: Iterator[str]) -> str:
    text = " ".join(line.strip() for line in lines)
    code = text.replace("|", "¦").replace("`", "'")
    return f"`{code}`" if code else "nothing"


def write(mutants: list[Mutant], *, tree: str) -> Page:
    """Write the rows and survivors of the modules with no mutant left to run; return the page."""
    page = Page()
    for module in {mutant.module for mutant in mutants}:
        own = [mutant for mutant in mutants if mutant.module == module]
        if any(mutant.status == "not checked" for mutant in own):
            continue
        survivors = [mutant for mutant in own if mutant.status != "killed"]
        page.rows[module] = Row(len(own), len(own) - len(survivors), 0, today(tree))
        page.sections.pop(module, None)
        if survivors:
            lines = [table_row(SURVIVORS), table_row(["---"] * 3)]
            for mutant in survivors:
                what = change(mutant)
                reason = page.reasons.get((mutant.function, what), "")
                lines.append(table_row([f"`{mutant.function}`", what, reason]))
            page.sections[module] = "\n".join(lines)
    page.write()
    return page


def main(names: list[str]) -> int:
    """Run the mutants of these names, or all, and write the page, even if the run ends early."""
    os.chdir(ROOT)
    tree = commit()
    try:
        status = run(names)
    finally:
        page = write(list(results()), tree=tree)
    if not status:
        unexplained = sum(page.survivors(module)[1] for module in page.rows)
        print(f"{PAGE.relative_to(ROOT)}: {unexplained} survivors without a reason")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
