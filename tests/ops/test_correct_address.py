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


def run(*arguments: str) -> str:
    answer = StringIO()
    call_command("correct_address", *arguments, stdout=answer)
    return answer.getvalue().strip()


def test_a_pair_is_corrected() -> None:
    given_assignment(address=TYPO)
    assert run(TYPO, ALICE, "--dry-run") == f"{TYPO} -> {ALICE}: 1 would be corrected."
    assert LearnerContentAssignment.objects.get().learner_email == TYPO
    assert run(TYPO, ALICE) == f"{TYPO} -> {ALICE}: 1 corrected."
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
    assert run("--csv", str(file), "--dry-run") == f"{TYPO} -> {ALICE}: 1 would be corrected."

    file.write_text(f"alcie.learners.example,bob\n{TYPO},{ALICE}\n", encoding="utf-8")
    with pytest.raises(CommandError, match="Refused 1 of 2 pairs"):
        run("--csv", str(file), "--dry-run")

    for text in ("Old address,New address\n", "\n"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(CommandError, match="Give OLD and NEW, or --csv") as refused:
            run("--csv", str(file))
        assert refused.value.returncode == 2


@pytest.mark.parametrize(("arguments", "code"), [((), 2), ((TYPO,), 2), (("--csv", "/nowhere.csv"), 1)])
def test_what_is_no_pair_is_refused(arguments: tuple[str, ...], code: int) -> None:
    with pytest.raises(CommandError) as refused:
        run(*arguments)
    assert refused.value.returncode == code
