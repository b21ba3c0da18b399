"""Make mutants of the core, run tests with each, and write its survivors to `docs/mutants.md`.

Usage: `python scripts/mutants.py [NAME …]`, where a name is a mutant's or a pattern, such as
`bursary.budgets.ledger.*`. Without names everything is mutated anew; with names the others keep their
results.
`python scripts/mutants.py --table` writes the page from the results that are there.

The last column of the survivors, why a change changes nothing, is written by hand. It is kept as long as the
same change of the same function survives. So is the section "By hand".
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mutmut.__main__ import collect_or_load_stats, create_mutants
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, setup_source_paths
from mutmut.workers.isolation import get_mutant_runner

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "mutants.md"
BURSARY = Path(sys.executable).with_name("bursary")
# A mutant that hangs or crashes the tests is noticed, too.
KILLED = {"killed", "timeout", "segfault", "caught by type check"}

HEAD = """# Mutants

`make mutants` changes one thing at a time in the modules that decide: a comparison, a constant, an argument.
Each change then meets the tests that execute the changed function, on SQLite and out of those that
`[tool.mutmut]` in `pyproject.toml` names, until one fails. The change is killed if that test, alone in a new
process, fails again with the change and passes without it; a test that takes more than a minute has failed. A
change that meets all of them has survived. The table says of each survivor why it changes nothing; one
without a reason still needs a test. A module without a date was not run to the end.

"""


@dataclass(frozen=True)
class Mutant:
    """One change, and what the tests made of it."""

    module: str
    name: str
    status: str

    @property
    def function(self) -> str:
        """Return the changed function or method, without mutmut's marks."""
        mangled = self.name.rpartition(".")[2].partition("__mutmut_")[0]
        return mangled.removeprefix("x").strip("_ǁ").replace("ǁ", ".")


def run(names: list[str]) -> int:
    """Make the mutants and run tests with each on SQLite; return the exit status."""
    if not names:
        shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="bursary-mutants-") as folder:
        migrated = str(Path(folder, "migrated.sqlite3"))
        own = {"BURSARY_VAR_DIR": folder, "BURSARY_DATABASE_URL": f"sqlite:///{migrated}"}
        subprocess.run([str(BURSARY), "migrate", "-v0"], cwd=ROOT, env={**os.environ, **own}, check=True)
        os.environ |= {
            "BURSARY_TEST_DB": "sqlite",
            "BURSARY_TEST_DIR": folder,
            "BURSARY_TEST_MIGRATED": migrated,
            "PYTEST_DEBUG_TEMPROOT": folder,
        }
        make()
        command = [sys.executable, str(ROOT / "scripts" / "mutant_runner.py"), *names]
        return subprocess.run(command, cwd=ROOT / "mutants", check=False).returncode


def make() -> None:
    """Have mutmut write the mutants of what has changed, and which tests execute each function."""
    set_mutant_under_test("mutant_generation")
    Path("mutants").mkdir(exist_ok=True)
    # Which tests execute a function is found anew each time: tests change, and some move.
    shutil.rmtree("mutants/tests", ignore_errors=True)
    Path("mutants/mutmut-stats.json").unlink(missing_ok=True)
    copy_src_dir()
    # Templates, too: mutmut copies what is no module once and never again.
    shutil.copytree("bursary", "mutants/bursary", ignore=shutil.ignore_patterns("*.py"), dirs_exist_ok=True)
    copy_also_copy_files()
    setup_source_paths()
    create_mutants(max_children=1)
    collect_or_load_stats(get_mutant_runner())


def results() -> Iterator[Mutant]:
    """Yield every mutant of the last run, by module and in the order of the source."""
    for meta in sorted((ROOT / "mutants").rglob("*.py.meta")):
        module = meta.relative_to(ROOT / "mutants").as_posix().removesuffix(".meta")
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            yield Mutant(module, name, status_by_exit_code[code])


def change(mutant: Mutant) -> str:
    """Return what was changed, as `before` → `after`, on one line."""
    diff = get_diff_for_mutant(mutant.name, path=mutant.module).splitlines()[2:]
    before, after = (_cell(line[1:] for line in diff if line.startswith(sign)) for sign in "-+")
    return f"{before} → {after}"


def _cell(lines: Iterator[str]) -> str:
    text = " ".join(line.strip() for line in lines)
    code = text.replace("|", "¦").replace("`", "'")
    return f"`{code}`" if code else "nothing"


def known_reasons() -> Mapping[tuple[str, str], str]:
    """Return the reasons that the page gives, by function and change."""
    if not PAGE.exists():
        return {}
    rows = re.findall(
        r"^\| `([^`|]+)` \| (.+?) \| (.*?) ?\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {(function, changed): reason for function, changed, reason in rows}


def table(mutants: list[Mutant]) -> str:
    """Return the page: the counts of each module, its survivors, and what was written by hand."""
    reasons = known_reasons()
    lines = ["| module | mutants | killed | survived | without a test | not run | date |", "| --- " * 7 + "|"]
    survivors = ["| function | change | why it changes nothing |", "| --- " * 3 + "|"]
    for module in sorted({mutant.module for mutant in mutants}):
        own = [mutant for mutant in mutants if mutant.module == module]
        count = Counter("killed" if mutant.status in KILLED else mutant.status for mutant in own)
        figures = [len(own), count["killed"], count["survived"], count["no tests"]]
        figures.append(figures[0] - sum(figures[1:]))
        lines.append(
            f"| {module} | {' | '.join(map(str, figures))} | {'' if figures[-1] else ended(module)} |"
        )
        package = module.removeprefix("bursary/").removesuffix(".py").replace("/", ".")
        for mutant in own:
            if mutant.status in {"survived", "no tests"}:
                function, changed = f"{package}.{mutant.function}", change(mutant)
                survivors.append(f"| `{function}` | {changed} | {reasons.get((function, changed), '')} |")
    return HEAD + "\n".join(lines) + "\n\n## Survivors\n\n" + "\n".join(survivors) + "\n" + by_hand()


def ended(module: str) -> str:
    """Return the day on which the last of a module's mutants was run."""
    meta = ROOT / "mutants" / f"{module}.meta"
    return f"{datetime.fromtimestamp(meta.stat().st_mtime, tz=UTC):%Y-%m-%d}"


def by_hand() -> str:
    """Return the page's section on the changes that were made by hand."""
    if not PAGE.exists():
        return ""
    _table, heading, rows = PAGE.read_text(encoding="utf-8").partition("\n## By hand\n")
    return heading + rows


def main(arguments: list[str]) -> int:
    """Run the mutants, unless only the table is asked for, and write the page."""
    os.chdir(ROOT)
    if arguments != ["--table"]:
        status = run(arguments)
        if status:
            return status
    page = table(list(results()))
    PAGE.write_text(page, encoding="utf-8")
    unexplained = len(re.findall(r"^\| `.* \|  \|$", page, re.MULTILINE))
    print(f"{PAGE.relative_to(ROOT)}: {unexplained} survivors without a reason")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
