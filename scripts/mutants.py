"""Make mutants of the core, run tests with each, and write its survivors to `docs/mutants.md`.

Usage: `python scripts/mutants.py [NAME …]`, where a name is a mutant's or a pattern, such as
`bursary.budgets.ledger.*`; without names every mutant is run.

The page has a row for each module. It is written anew, with the module's survivors, by a run of all of the
module's mutants; a run of some of them only prints. The last column of the survivors, why a change changes
nothing, is written by hand. It is kept as long as the same change of the same function survives. So is the
section "By hand".
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
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
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

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "mutants.md"
BURSARY = Path(sys.executable).with_name("bursary")
STATEMENT = re.compile(r"^@(Prepared\w+)\n(def (\w+)\(\).*(?:\n\n? .*)+)\n", re.MULTILINE)
"""A function that returns what a class of `bursary/lib/prepared.py` keeps the SQL of, which decorates it."""
HEAD = """# Mutants

`make mutants` changes one thing at a time in the modules that decide: a comparison, a constant, an argument.
Each change then meets the tests that execute the changed function, on SQLite and out of those that
`[tool.mutmut]` in `pyproject.toml` names, until one fails. The change is killed if that test, alone in a new
process, fails again with the change and passes without it; a test that takes more than a minute has failed. A
change that meets all of them has survived. The tables say of each survivor why it changes nothing; one
without a reason still needs a test. A change with a reason meets the 100 nearest tests only. Left out are
functions with a decorator, such as `actions.finish`: theirs are made by hand, or with the decorator called
below the function, as is done for statements that are kept (`lib/prepared.py`).

`make mutants MODULE=ledger` runs the changes of one module and writes its section anew. A `+` after a commit
says that files had been changed since that commit.

"""


@dataclass(frozen=True)
class Mutant:
    """One change, and what the tests made of it."""

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
        reasons = known_reasons()
        of_these = [one for one in results() if one.function in {function for function, _what in reasons}]
        explained = [one.name for one in of_these if reasons.get((one.function, change(one)))]
        Path("mutants/explained.json").write_text(json.dumps(explained), encoding="utf-8")
        command = [sys.executable, str(ROOT / "scripts" / "mutant_runner.py"), *names]
        return subprocess.run(command, cwd=ROOT / "mutants", check=False).returncode


def make() -> None:
    """Have mutmut write every mutant."""
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
    """Mutate a file. A statement is prepared below its function there: what is decorated is left out."""
    return mutate_file_contents(filename, STATEMENT.sub(r"\2\n\n\3 = \1(\3)\n", code), *more, **options)


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


def commit() -> str:
    """Return the commit that is checked out, with a `+` if code or tests are changed since."""
    git = ["git", "rev-parse", "--short", "HEAD"]
    name = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    git = ["git", "diff", "--quiet", "HEAD", "--", "bursary", "tests", "scripts", "pyproject.toml"]
    return name + "+" * subprocess.run(git, cwd=ROOT, check=False).returncode


def known_reasons() -> Mapping[tuple[str, str], str]:
    """Return the reasons that the page gives, by function and change."""
    rows = re.findall(
        r"^\| `([^`|]+)` \| (.+?) \| (.*?) ?\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {(function, what): reason for function, what, reason in rows}


def section(module: str, mutants: list[Mutant], *, tree: str) -> str:
    """Return a module's section: its counts, when and on which commit they were found, and its survivors."""
    reasons = known_reasons()
    count = Counter(mutant.status for mutant in mutants)
    lines = [
        f"## {module}\n",
        f"{len(mutants)} changes: {count['killed']} killed, {count['survived']} survived, "
        f"{count['no tests']} met no test. Run on {datetime.now(tz=UTC):%Y-%m-%d} at commit {tree}.\n",
    ]
    survivors = [(mutant.function, change(mutant)) for mutant in mutants if mutant.status != "killed"]
    if survivors:
        lines += ["| function | change | why it changes nothing |", "| --- | --- | --- |"]
        lines += [f"| `{name}` | {what} | {reasons.get((name, what), '')} |" for name, what in survivors]
        lines.append("")
    return "\n".join(lines) + "\n"


def updated(page: str, mutants: list[Mutant], *, tree: str) -> str:
    """Return the page with the sections of those modules written anew all of whose mutants were run."""
    sections = {part.partition("\n")[0]: part for part in re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:]}
    by_hand = sections.pop("## By hand")
    for module in {mutant.module for mutant in mutants}:
        own = [mutant for mutant in mutants if mutant.module == module]
        if all(mutant.status != "not checked" for mutant in own):
            sections[f"## {module}"] = section(module, own, tree=tree)
    return HEAD + "".join(sections[title] for title in sorted(sections)) + by_hand


def main(names: list[str]) -> int:
    """Run the mutants of these names, or all, and write the page, even if the run ends early."""
    os.chdir(ROOT)
    tree = commit()
    try:
        status = run(names)
    finally:
        page = updated(PAGE.read_text(encoding="utf-8"), list(results()), tree=tree)
        PAGE.write_text(page, encoding="utf-8")
    if status:
        return status
    unexplained = len(re.findall(r"^\| `.* \|  \|$", page, re.MULTILINE))
    print(f"{PAGE.relative_to(ROOT)}: {unexplained} survivors without a reason")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
