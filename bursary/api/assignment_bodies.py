"""The bodies of assignments in long lists, made without serializers.

`serializers` and `learner_serializers` define the shapes for the schema, and for single assignments. These
functions return the same bodies in a fraction of the time (decision 0024). A test compares both.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from bursary.api.learner_serializers import state_at
from bursary.assignments import redemption
from bursary.assignments.acknowledgement import FACT_OF
from bursary.assignments.choices import LearnerState, State, Status
from bursary.assignments.redemption import RedemptionRefused
from bursary.assignments.shown_assignments import ShownAssignment
from bursary.replica.types import AnyContent


def bodies(shown: Iterable[ShownAssignment]) -> list[dict[str, Any]]:
    """Return the body of each assignment, the same as `AssignmentSerializer` makes."""
    return [_body(one) for one in shown]


def admin_bodies(shown: Iterable[ShownAssignment]) -> list[dict[str, Any]]:
    """Return the body of each assignment, the same as `AdminAssignmentSerializer` makes."""
    return [_admin_body(one) for one in shown]


def learner_body(
    one: ShownAssignment, *, now: datetime, joining_refusals: Mapping[tuple[int, str], RedemptionRefused]
) -> dict[str, Any]:
    """Return an assignment's body, the same as `LearnerAssignmentSerializer` makes with this context."""
    row = one.row
    state = state_at(row, now=now)
    refusal = None
    if state == State.ALLOCATED:
        refusal = redemption.budget_refusal(row, now=now) or joining_refusals.get((row.pk, row.content_key))
    return {
        **_body(one),
        "state": state,
        "content_metadata": _content(row.shown_content),
        "join_by": row.join_by,  # type: ignore[attr-defined]  # annotated
        "learner_acknowledged": False if state in FACT_OF else None,
        "not_acceptable_now": refusal
        and {
            "reason": refusal.reason,
            "user_message": refusal.sentence,
            "next_step": refusal.next_step,
        },
    }


def _body(one: ShownAssignment) -> dict[str, Any]:
    row, content = one.row, one.row.shown_content
    return {
        "uuid": row.uuid,
        "assignment_configuration": row.budget.assignment_configuration_uuid,
        "learner_email": row.learner_email,
        "lms_user_id": row.lms_user_id if row.learns_here else None,  # type: ignore[attr-defined]  # annotated
        "content_key": row.content_key,
        "parent_content_key": row.parent_content_key or None,
        "is_assigned_course_run": row.is_assigned_course_run,
        "content_title": (content.title or None) if content else None,
        "content_quantity": -row.price_cents,
        "state": row.state,
        "transaction_uuid": row.transaction_uuid,
        "actions": [
            {
                "created": action.created,
                "modified": action.modified,
                "uuid": action.uuid,
                "action_type": action.action_type,
                "completed_at": None if action.status == Status.FAILED else action.completed_at,
                "error_reason": action.error_reason or None,
                "status": action.status,
                "cause": action.error_code,
                "cycle": action.cycle,
            }
            for action in one.actions
        ],
        "earliest_possible_expiration": {"date": row.expires_at, "reason": row.expires_reason},
    }


def _admin_body(one: ShownAssignment) -> dict[str, Any]:
    row, failed = one.row, one.current_failure()
    reminded = row.recent_action_at > row.allocated_at
    return {
        **_body(one),
        "recent_action": {
            "action_type": "reminded" if reminded else "assigned",
            "timestamp": row.recent_action_at,
        },
        "learner_state": LearnerState(row.learner_state).label or None,
        "error_reason": failed
        and {
            "action_type": failed.action_type,
            "error_reason": failed.error_reason,
            "cause": failed.error_code,
        },
        "account_ended": row.account_ended or None,  # type: ignore[attr-defined]  # annotated
        "join_by": row.join_by,  # type: ignore[attr-defined]  # annotated
        "content_metadata": _content(row.shown_content),
    }


def _content(content: AnyContent | None) -> dict[str, Any] | None:
    if content is None:
        return None
    return {
        "title": content.title,
        "start_date": content.start_date,
        "end_date": content.end_date,
        "enroll_by": content.enroll_by,
        "price_cents": content.price_cents,
        "course_type": content.course_type,
        "partners": content.partners,
        "as_of": content.checked_at,
    }
