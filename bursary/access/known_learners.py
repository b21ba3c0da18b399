"""The accounts of known learners, by address."""

from collections.abc import Sequence

from bursary.access.models import User, of_mailboxes
from bursary.lib.batches import chunks

KEYS_PER_QUERY = 5000


def lms_user_ids(learner_keys: Sequence[str]) -> dict[str, int]:
    """Return the LMS user id of each learner key that has an account."""
    known: dict[str, int] = {}
    for chunk in chunks(learner_keys, KEYS_PER_QUERY):
        # Of several accounts of one mailbox the oldest counts.
        users = User.objects.filter(of_mailboxes(chunk), lms_user_id__isnull=False).order_by("-pk")
        for mailbox_key, older_key, lms_user_id in users.values_list(
            "mailbox_key", "learner_key", "lms_user_id"
        ):
            known[mailbox_key or older_key] = lms_user_id or 0
    return known
