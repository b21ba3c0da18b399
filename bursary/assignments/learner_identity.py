"""The addresses, keys, LMS user ids and accounts of one person, found from one address.

An account may have had other addresses. An assignment has an address and an LMS user id, even if the account
is deleted. A row of an earlier release may spell an address differently. Each of them may lead to others.
"""

import hashlib
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field

from django.db.models import Q

from bursary.access.models import AccountAddress, LearnerLink, User, learner_key, of_mailboxes
from bursary.assignments import matching
from bursary.assignments.models import LearnerContentAssignment
from bursary.lib import mailbox
from bursary.lib.batches import keyset_pages

ROWS_PER_PAGE = 2000
_ADDRESSED = ((User, "email"), (LearnerLink, "learner_email"), (LearnerContentAssignment, "learner_email"))


@dataclass
class Identity:
    """The addresses, keys, LMS user ids and accounts of one person."""

    addresses: set[str] = field(default_factory=set)
    """In every spelling that was found."""
    keys: set[str] = field(default_factory=set)
    """Of the mailboxes, by the present rule and by that of an earlier release."""
    lms_user_ids: set[int] = field(default_factory=set)
    accounts: set[int] = field(default_factory=set)

    @property
    def rows(self) -> Q:
        """The condition of the person's assignments and accounts: by address or by LMS user id."""
        return of_mailboxes(list(self.keys)) | Q(lms_user_id__in=list(self.lms_user_ids))

    def spelt(self, column: str) -> Q:
        """Return the condition that a column has one of the addresses."""
        condition = Q(pk__in=[])
        for address in sorted(self.addresses):
            condition |= Q(**{f"{column}__iexact": address})
        return condition

    def add_id(self, lms_user_id: int | None) -> None:
        """Add an LMS user id, if there is one."""
        if lms_user_id is not None:
            self.lms_user_ids.add(lms_user_id)

    def add(self, written: Iterable[str]) -> None:
        """Add addresses, with their canonical form and their keys."""
        for address in written:
            text, canonical = address.strip(), mailbox.comparable_text(address)
            if "@" in canonical:
                older = hashlib.sha256(text.lower().encode(errors="surrogatepass")).hexdigest()
                self.addresses |= mailbox.spellings(text)
                self.keys |= {learner_key(text), older}


def trace(address: str) -> Identity:
    """Return the identity of the person with this address. Raises matching.BadAddresses."""
    # What only an earlier release accepted is traced all the same.
    if "@" not in mailbox.comparable_text(address):
        matching.read_all_addresses([address])
    person = Identity()
    person.add([address])
    known: Identity | None = None
    while known != person:
        known = deepcopy(person)
        _follow(person)
    return person


def _follow(person: Identity) -> None:
    """Add what the rows of the addresses and ids so far lead to."""
    other = AccountAddress.objects.filter(Q(learner_key__in=person.keys) | Q(user__in=person.accounts))
    person.accounts |= set(other.values_list("user", flat=True))
    person.add(other.values_list("address", flat=True))
    users = User.objects.filter(person.rows | Q(pk__in=person.accounts) | person.spelt("username"))
    for pk, lms_user_id, *written in users.values_list("pk", "lms_user_id", "email", "username"):
        person.accounts.add(pk)
        person.add_id(lms_user_id)
        person.add(written)
    assigned = LearnerContentAssignment.objects.filter(person.rows, forgotten_at=None).order_by()
    for email, lms_user_id in assigned.values_list("learner_email", "lms_user_id").distinct():
        person.add_id(lms_user_id)
        person.add([email])
    links = LearnerLink.objects.filter(of_mailboxes(list(person.keys)))
    person.add(links.values_list("learner_email", flat=True))
    # Rows that have no key of their mailbox yet: each is read, and compared here.
    for model, column in _ADDRESSED:
        rows = model._default_manager.filter(mailbox_key=None).values_list("pk", column, "learner_key")
        for page in keyset_pages(rows, size=ROWS_PER_PAGE):
            for _pk, address, key in page:
                if address and learner_key(address) in person.keys:
                    person.add([address])
                    person.keys.add(key)
