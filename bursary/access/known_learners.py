"""The accounts of known learners: by address, and whether a customer may know them."""

from collections.abc import Sequence

from django.db.models import Exists, OuterRef

from bursary.access.models import Role, RoleGrant, User
from bursary.lib.batches import chunks

KEYS_PER_QUERY = 5000


def lms_user_ids(learner_keys: Sequence[str]) -> dict[str, int]:
    """Return the LMS user id of each learner key that has an account."""
    known: dict[str, int] = {}
    for chunk in chunks(learner_keys, KEYS_PER_QUERY):
        users = User.objects.filter(learner_key__in=chunk, lms_user_id__isnull=False)
        known.update(
            (key, lms_user_id)
            for key, lms_user_id in users.values_list("learner_key", "lms_user_id")
            if lms_user_id is not None
        )
    return known


def learns_at(lms_user_id: str, *, customer: str) -> Exists:
    """Return a condition on rows by these fields: the person with this id is a learner of this customer."""
    return Exists(
        RoleGrant.objects.filter(
            user__lms_user_id=OuterRef(lms_user_id), role=Role.LEARNER, customer=OuterRef(customer)
        )
    )
