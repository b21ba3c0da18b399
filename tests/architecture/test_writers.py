"""State, actions and derived columns have one writer each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bursary.assignments.models import LearnerContentAssignment
from tests.architecture.source import PACKAGE, modules, place, source_of
from tests.architecture.writes import creations, writes

# The layers below assignments cannot reach them; their own models may use the same words.
BELOW_ASSIGNMENTS = {"upstream", "catalog", "replica", "budgets", "access"}

ASSIGNMENT = "LearnerContentAssignment"
ACTION = "LearnerContentAssignmentAction"
DERIVED_COLUMNS = {
    "age_ends_at",
    "content_enroll_by",
    "content_start",
    "content_title",
    "expires_at",
    "expires_reason",
    "grace_until",
    "learner_state",
    "nudge_at",
    "recent_action_at",
    "remind_at",
}


def reaching() -> Iterator[Path]:
    """Yield every module that could reach an assignment."""
    for module in modules():
        if module.relative_to(PACKAGE).parts[0] not in BELOW_ASSIGNMENTS:
            yield module


def writers(columns: set[str], *, but: set[str]) -> list[str]:
    """Return path:line of each write of an assignment's `columns` outside the modules named in `but`."""
    return [
        f"{place(module, write.line)}: {write.column}"
        for module in reaching()
        if module.relative_to(PACKAGE).as_posix() not in but
        for write in writes(source_of(module))
        if write.column in columns and write.model in {ASSIGNMENT, None}
    ]


def test_only_the_lifecycle_writes_state() -> None:
    assert not writers({"state"}, but={"assignments/lifecycle.py", "assignments/allocation.py"})


def test_allocation_writes_state_only_into_new_rows() -> None:
    allocation = (PACKAGE / "assignments" / "allocation.py").read_text()
    made = set(creations(allocation, model=ASSIGNMENT, related_name="assignments"))

    assert [write for write in writes(allocation) if write.column == "state" and write.line not in made] == []


def test_only_derived_writes_the_derived_columns() -> None:
    assert {field.name for field in LearnerContentAssignment._meta.get_fields()} >= DERIVED_COLUMNS
    assert not writers(DERIVED_COLUMNS, but={"assignments/derived.py"})


def test_only_the_timeline_makes_actions() -> None:
    assert not [
        place(module, line)
        for module in reaching()
        if module.relative_to(PACKAGE).as_posix() != "assignments/actions.py"
        for line in creations(source_of(module), model=ACTION, related_name="actions")
    ]


@pytest.mark.parametrize(
    "source",
    [
        "assignment.state = State.CANCELLED",
        "assignment.state, assignment.cycle = State.CANCELLED, 2",
        "setattr(assignment, 'state', State.CANCELLED)",
        "LearnerContentAssignment(state=State.CANCELLED)",
        "models.LearnerContentAssignment.objects.filter(pk=1).update(state=State.CANCELLED)",
        "budget.assignments.update(**{'state': State.CANCELLED})",
        "budget.assignments.update_or_create(pk=1, defaults={'state': State.CANCELLED})",
        "LearnerContentAssignment.objects.bulk_update(rows, ['state'])",
        "LearnerContentAssignment.objects.bulk_update(rows, fields=['state'])",
        "assignment.save(update_fields=['state'])",
        "from a import LearnerContentAssignment as Row\nRow.objects.update(state='x')",
    ],
)
def test_a_write_of_a_column_is_found(source: str) -> None:
    found = [write for write in writes(source) if write.column == "state"]

    assert [write.model in {ASSIGNMENT, None} for write in found] == [True]


@pytest.mark.parametrize(
    "source",
    [
        "state = assignment.state",
        "LearnerContentAssignment.objects.filter(state=State.ALLOCATED).update(cycle=2)",
        "LedgerEntry.objects.filter(pk=1).update(state=LedgerEntryState.REVERSED)",
        "answer = {'state': assignment.state}",
    ],
)
def test_what_only_looks_like_a_write_is_left_alone(source: str) -> None:
    found = [write for write in writes(source) if write.column == "state"]

    assert [write for write in found if write.model in {ASSIGNMENT, None}] == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("LearnerContentAssignmentAction(cycle=1)", [1]),
        ("LearnerContentAssignmentAction.objects.bulk_create(rows)", [1]),
        ("assignment.actions.create(cycle=1)", [1]),
        ("from a import LearnerContentAssignmentAction as Action\nAction.objects.get_or_create(pk=1)", [2]),
        ("LearnerContentAssignmentAction.objects.filter(pk=1)", []),
        ("actions.request(assignment)", []),
        ("raise actions.RetryRefused(assignment)", []),
    ],
)
def test_a_made_action_is_found(source: str, lines: list[int]) -> None:
    assert list(creations(source, model=ACTION, related_name="actions")) == lines
