"""`bursary correct_address`: a pair, or a file of pairs."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from bursary.assignments.models import LearnerContentAssignment
from tests.world import ALICE, BOB, given_assignment

pytestmark = pytest.mark.django_db

TYPO = "alcie@learners.example"
UTF_8 = " is not text in UTF-8. Save it as CSV in UTF-8."
FORM = "Each line of the file is an old address, a comma and the new address."


def run(*arguments: str) -> str:
    answer = StringIO()
    call_command("correct_address", *arguments, stdout=answer)
    return answer.getvalue().strip()


def test_a_pair_is_corrected() -> None:
    given_assignment(address=TYPO)
    assert run(TYPO, ALICE, "--dry-run") == f"{TYPO} -> {ALICE}: 1 assignment would be corrected."
    assert LearnerContentAssignment.objects.get().learner_email == TYPO
    assert run(TYPO, ALICE) == f"{TYPO} -> {ALICE}: 1 assignment corrected."
    assert LearnerContentAssignment.objects.get().learner_email == ALICE


def test_of_a_file_every_pair_is_tried_and_refusals_end_with_an_error(tmp_path: Path) -> None:
    assignment = given_assignment(address=TYPO)
    file = tmp_path / "pairs.csv"
    file.write_text(f"\ufeffgone@learners.example,{BOB}\n\n{TYPO},{ALICE}\n", encoding="utf-8")
    answer = StringIO()
    with pytest.raises(CommandError, match="1 of 2 pairs"):
        call_command("correct_address", "--csv", str(file), "--json", stdout=answer)
    pairs = json.loads(answer.getvalue())["pairs"]
    assert [(one["reason"], one["corrected"]) for one in pairs] == [
        ("nothing_to_correct", []),
        ("", [str(assignment.uuid)]),
    ]


def test_a_heading_of_a_file_is_no_pair_but_a_pair_without_an_at_is(tmp_path: Path) -> None:
    given_assignment(address=TYPO)
    file = tmp_path / "pairs.csv"
    file.write_text(f"Old address,New address\r\n{TYPO},{ALICE}\r\n", encoding="utf-8")
    assert run("--csv", str(file), "--dry-run") == f"{TYPO} -> {ALICE}: 1 assignment would be corrected."

    file.write_text(f"alcie.learners.example,bob\n{TYPO},{ALICE}\n", encoding="utf-8")
    with pytest.raises(CommandError, match="Refused 1 of 2 pairs"):
        run("--csv", str(file), "--dry-run")


@pytest.mark.parametrize(
    ("content", "sentence", "code"),
    [
        (b"", f" has no pair. {FORM}", 2),
        (b"Old address,New address\n\n", f" has no pair. {FORM}", 2),
        ("a@b.example,\N{LATIN SMALL LETTER U WITH DIAERESIS}@b.example".encode("latin-1"), UTF_8, 1),
        ("a@b.example,c@b.example".encode("utf-16"), UTF_8, 1),
        ("a@b.example,c@b.example".encode("utf-16-le"), UTF_8, 1),
        (b"a@b.example,c@b.example\n" + b"x" * 200_000, f", line 2: this cannot be read. {FORM}", 1),
    ],
    ids=["empty", "heading", "Latin-1", "UTF-16", "UTF-16 without a mark", "not CSV"],
)
def test_of_a_file_without_pairs_it_is_said_what_it_is_to_have(
    content: bytes, sentence: str, code: int, tmp_path: Path
) -> None:
    file = tmp_path / "pairs.csv"
    file.write_bytes(content)
    with pytest.raises(CommandError) as refused:
        run("--csv", str(file))
    assert (str(refused.value), refused.value.returncode) == (f"{file}{sentence}", code)


@pytest.mark.parametrize("row", ["a@b.example;c@b.example", "a@b.example", "a@b.example, c@b.example, d"])
def test_a_line_that_is_no_pair_is_shown_and_a_comma_asked_for(row: str, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text(f"Old;New\n{row}\n", encoding="utf-8")
    with pytest.raises(CommandError) as refused:
        run("--csv", str(file))
    assert str(refused.value).replace(",  ", ", ") == f"{row}: this is no pair. {FORM}"
    assert refused.value.returncode == 2


def test_more_pairs_than_one_call_takes_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text(f"{TYPO},{ALICE}\n" * 1001, encoding="utf-8")
    with pytest.raises(CommandError) as refused:
        run("--csv", str(file))
    assert str(refused.value) == "These are 1,001 pairs. Give up to 1,000, and the others in other files."


@pytest.mark.parametrize(("arguments", "code"), [((), 2), ((TYPO,), 2), (("--csv", "/nowhere.csv"), 1)])
def test_what_is_no_pair_is_refused(arguments: tuple[str, ...], code: int) -> None:
    with pytest.raises(CommandError) as refused:
        run(*arguments)
    assert refused.value.returncode == code
    assert "Give OLD and NEW" in str(refused.value) or code == 1
