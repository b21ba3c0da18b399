"""The accounts of known learners, by address."""

from collections.abc import Sequence

from bursary.access.models import User
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
