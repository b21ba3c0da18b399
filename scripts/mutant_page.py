"""Reads and writes `docs/mutants.md`: a table with a row for each module, and then a section for each.

`scripts/mutants.py` writes the modules' rows, and their survivors as sections; `scripts/must_fail.py` writes
the last row and section, for the changes of `scripts/must_fail.toml`.
"""

import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "mutants.md"
BY_HAND = "scripts/must_fail.toml"
HEAD = """# Mutants

`make mutants` changes one comparison, constant or argument at a time in the modules that decide.
Each change is tested on SQLite with the tests that execute the changed function, among those that
`[tool.mutmut]` in `pyproject.toml` names, until one fails. The change is killed if that test, alone in a new
process, fails again with the change and passes without it; a test that takes more than a minute has failed. A
change with which all of the tests pass has survived. The tables below give the reason why it changes nothing;
a survivor without a reason still needs a test. A change with a reason is tested with the 100 nearest tests
only.

No run changes code that is executed when a module is imported, or two lines at once. Such changes, and those
that would do most harm, are in `scripts/must_fail.toml`, each with the tests that must fail. `make must-fail`
makes them one at a time.

`make mutants MODULE=ledger` tests the changes of one module and rewrites its row and its survivors. If a row
says "in parts", its functions were tested at several commits. Changes of functions that were edited later are
counted as not run. A `+` after a commit says that files had been changed since that commit.

"""
COLUMNS = (
    "module",
    "changes",
    "killed",
    "survived, with a reason",
    "without one",
    "not run since changed",
    "last run",
)


@dataclass(frozen=True)
class Row:
    """The results of a run."""

    changes: int
    killed: int
    not_run: int
    run: str


class Page:
    """The page. Set `rows` and `sections`, by module, and call `write`."""

    def __init__(self) -> None:
        text = PAGE.read_text(encoding="utf-8")
        parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
        self.sections = dict(zip(parts[1::2], map(str.strip, parts[2::2]), strict=True))
        row = r"^\| `(\S+)` \| (\d+) \| (\d+) \| \S+ \| \S+ \| (\d+) \| (.+) \|$"
        found = re.findall(row, parts[0], re.MULTILINE)
        self.rows = {
            module: Row(int(changes), int(killed), int(not_run), run)
            for module, changes, killed, not_run, run in found
        }
        survivors = re.findall(r"^\| `([^`|]+)` \| (.+?) \| (.*?) ?\|$", "".join(parts[2::2]), re.MULTILINE)
        self.reasons = {(function, change): reason for function, change, reason in survivors}
        """By function and change, the reason why it changes nothing."""

    def survivors(self, module: str) -> tuple[int, int]:
        """Return the numbers of a module's survivors with a reason and without one."""
        row, section = self.rows[module], self.sections.get(module, "")
        explained = len(re.findall(r"^\| `[^`|]+` \| .+ \| .+ \|$", section, re.MULTILINE))
        return explained, row.changes - row.killed - row.not_run - explained

    def write(self) -> None:
        """Write the page, with the modules ordered by name and the changes made by hand last."""
        order = sorted(self.rows, key=lambda module: (module == BY_HAND, module))
        lines = [table_row(COLUMNS), table_row(["---", *["---:"] * 5, "---"])]
        for module in order:
            row, survivors = self.rows[module], self.survivors(module)
            lines.append(
                table_row([f"`{module}`", row.changes, row.killed, *survivors, row.not_run, row.run])
            )
        sections = [f"## {each}\n\n{self.sections[each]}\n" for each in order if each in self.sections]
        PAGE.write_text(HEAD + "\n".join([*lines, "", *sections]), encoding="utf-8")


def table_row(cells: list[object] | tuple[str, ...]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def commit() -> str:
    """Return the commit that is checked out, with a `+` if code or tests have changed since."""
    git = ["git", "rev-parse", "--short", "HEAD"]
    name = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    git = ["git", "diff", "--quiet", "HEAD", "--", "bursary", "tests", "scripts", "pyproject.toml"]
    return name + "+" * subprocess.run(git, cwd=ROOT, check=False).returncode


def today(tree: str) -> str:
    """Return the last column for a run of today at this commit."""
    return f"{datetime.now(tz=UTC):%Y-%m-%d} at {tree}"
