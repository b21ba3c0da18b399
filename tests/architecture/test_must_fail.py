"""The table of changes that a test must notice fits the code; `make must-fail` says which none notices."""

import ast
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts import must_fail
from scripts.must_fail import Change
from scripts.mutant_page import ROOT

HERE = "tests/architecture/test_must_fail.py"
THIS = f"{HERE}::test_every_change_fits_the_code_and_its_tests_are_there"
EDIT = {"before": "\t", "after": ""}


class Tree:
    """Stands for the copy of the tree. `failures` fail with any change, `broken` without one."""

    failures: set[str] = set()
    broken: set[str] = set()

    def __init__(self, folder: str) -> None:
        """Copy nothing."""

    def failed(self, tests: Sequence[str], engine: str) -> set[str]:
        """Return what fails without a change."""
        return self.broken & set(tests)

    def notices(self, change: Change, engine: str) -> bool:
        """Return whether all of the change's tests fail."""
        return set(change.tests) <= self.failures


@pytest.fixture
def two_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    edit = [EDIT]
    table = [
        Change("one", HERE, ["tests/a.py::a"], edit),
        Change("two", HERE, ["tests/b.py::b"], edit, ["sqlite", "postgres"]),
    ]
    monkeypatch.setattr(must_fail, "Copy", Tree)
    monkeypatch.setattr(must_fail, "changes", lambda: table)
    monkeypatch.setattr(Change, "misfits", lambda change: iter(()))


def test_every_change_fits_the_code_and_its_tests_are_there() -> None:
    assert [sentence for change in must_fail.changes() for sentence in change.misfits()] == []


def test_every_change_leaves_its_file_a_program() -> None:
    for change in must_fail.changes():
        ast.parse(change.made((ROOT / change.file).read_text(encoding="utf-8")))


def test_a_text_that_does_not_occur_once_and_a_test_that_is_not_there_are_named() -> None:
    fitting = Change("x", HERE, [THIS], [{"before": "import ast\n", "after": ""}])
    misfit = Change("x", HERE, [f"{HERE}::test_nothing"], [EDIT])

    assert list(fitting.misfits()) == []
    assert list(misfit.misfits()) == [
        f"x: '\\t' occurs 0 times in {HERE}",
        f"x: there is no {HERE}::test_nothing",
    ]


@pytest.mark.usefixtures("two_changes")
def test_a_change_with_which_the_tests_pass_is_named_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Tree, "failures", {"tests/a.py::a"})

    assert must_fail.main(["one", "two"]) == 1

    lines = [line.partition(" in ")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines[:3] == ["1/3 fails on sqlite", "2/3 PASSES on sqlite", "3/3 PASSES on postgres"]


@pytest.mark.usefixtures("two_changes")
def test_a_test_that_fails_without_a_change_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Tree, "failures", {"tests/a.py::a", "tests/b.py::b"})
    monkeypatch.setattr(Tree, "broken", {"tests/b.py::b"})

    assert must_fail.main(["two"]) == 2
    assert capsys.readouterr().err == "Without a change these fail on postgres: tests/b.py::b\n"


@pytest.mark.usefixtures("two_changes")
def test_the_page_says_what_was_found_where_every_change_was_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = tmp_path / "mutants.md"
    row = "| `bursary/a.py` | 6 | 3 | 1 | 1 | 1 | 2026-11-27 at 1234abcd |\n"
    section = "## bursary/a.py\n\n| `a.f` | `x` → `y` | it is the same. |\n| `a.g` | `x` → `y` |  |\n"
    page.write_text(f"# Mutants\n\n{row}\n{section}")
    monkeypatch.setattr("scripts.mutant_page.PAGE", page)
    monkeypatch.setattr(must_fail, "commit", lambda: "1234abcd")
    monkeypatch.setattr(Tree, "failures", {"tests/a.py::a"})

    must_fail.main([])

    written = page.read_text()
    assert row in written
    assert section in written
    assert "| `scripts/must_fail.toml` | 2 | 1 | 0 | 1 | 0 |" in written
    assert "| one | a.py: `a` | sqlite |" in written
    assert "| two | b.py: `b` | **passes** on sqlite, **passes** on postgres |" in written
