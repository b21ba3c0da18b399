"""The accounts of known learners: by address, and whether a customer may know them."""

from collections.abc import Sequence

from django.db.models import Exists, OuterRef, Q

from bursary.access.models import LearnerLink, Role, RoleGrant, User, of_mailboxes
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


def learns_at(customer: str) -> Q:
    """Return a condition on rows with `lms_user_id` and `learner_key`: a learner of the field `customer`.

    By their role, or by a link of their address. Others' ids are not shown to that customer.
    """
    role = RoleGrant.objects.filter(role=Role.LEARNER, user__lms_user_id=OuterRef("lms_user_id"))
    mailbox = Q(mailbox_key=OuterRef("mailbox_key")) | Q(learner_key=OuterRef("learner_key"))
    link = LearnerLink.objects.filter(mailbox)
    here = Q(customer=OuterRef(customer))
    return Exists(role.filter(here)) | Exists(link.filter(here))
