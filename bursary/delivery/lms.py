"""Linking a learner to the customer, embedded: a link by address, and the role where there is an account."""

from django.db import transaction

from bursary.access.models import LearnerLink, Role, RoleGrant, User
from bursary.assignments.actions import Done
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.lib.locks import for_update


def link_learner(action: LearnerContentAssignmentAction) -> Done:
    """Link the action's recipient to the assignment's customer. Repeating it changes nothing."""
    assignment = action.assignment
    customer = assignment.budget.customer
    with transaction.atomic():
        # Locked: a link that is being forgotten at this moment is waited for, and made again.
        link, _created = for_update(LearnerLink.objects.all()).get_or_create(
            customer=customer,
            learner_key=assignment.learner_key,
            defaults={"learner_email": action.recipient, "created": action.created},
        )
    for user in User.objects.filter(learner_key=assignment.learner_key):
        RoleGrant.objects.get_or_create(user=user, role=Role.LEARNER, customer=customer)
    return Done(provider_ref=f"link:{link.pk}")
