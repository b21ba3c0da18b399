"""Linking that is done with the request for it: a local link is a row beside the action (decision 0018)."""

from collections import defaultdict
from collections.abc import Sequence

from django.db.models import prefetch_related_objects

from bursary.access import known_learners
from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.budgets.models import Customer


def link_at_once(rows: Sequence[LearnerContentAssignmentAction]) -> None:
    """Link learners where these actions, not stored yet, say that it is done; name the link on them.

    Call it inside the transaction that is about to store them. As many queries for many as for one.
    """
    requested = [
        one for one in rows if one.action_type == ActionType.LEARNER_LINKED and one.status == Status.DONE
    ]
    if not requested:
        return
    one_of = {one.assignment.budget_id: one.assignment for one in requested}
    prefetch_related_objects([*one_of.values()], "budget__customer")
    customers = {budget: assignment.budget.customer for budget, assignment in one_of.items()}
    by_customer: dict[Customer, list[LearnerContentAssignmentAction]] = defaultdict(list)
    for one in requested:
        by_customer[customers[one.assignment.budget_id]].append(one)
    for customer, theirs in by_customer.items():
        addresses = {one.assignment.present_key: one.recipient for one in theirs}
        links = known_learners.link(customer, addresses, now=theirs[0].created)
        for one in theirs:
            one.provider_ref = reference(links[one.assignment.present_key])


def reference(link: int) -> str:
    """Return the name of a link (pk) on the action that made it."""
    return f"link:{link}"
