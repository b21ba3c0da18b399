"""Which addresses a customer's automatic mails do not go to, and why.

An address is kept as a hash with the secret key of its time, and found by the present and the former keys.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils.crypto import salted_hmac

from bursary.access.models import Suppression, SuppressionReason, learner_key
from bursary.lib import batches
from bursary.lib.prepared import PreparedSelect, Slot

KEPT_FOR = timedelta(days=2 * 365)
"""How long a suppression lasts: mailboxes change hands."""
HASHES_PER_QUERY = 10_000
BY_REPORT = (SuppressionReason.BOUNCED, SuppressionReason.COMPLAINED)
"""The reasons that a mail provider reports, the graver one first. An administrator's repair ends them."""


def hashed(address: str) -> str:
    """Return the keyed hash of an address, as stored: without the secret key, it cannot even be guessed."""
    return _hashes(address)[0]


def add(customer_pk: int, address: str, *, reason: SuppressionReason, since: datetime) -> bool:
    """Add a reason, or note that it was given later than known; return whether it is new."""
    row, made = Suppression.objects.get_or_create(
        customer_id=customer_pk, address_hash=hashed(address), reason=reason, defaults={"since": since}
    )
    if not made:
        Suppression.objects.filter(pk=row.pk, since__lt=since).update(since=since)
    return made


def reasons(customer_pk: int, address: str) -> frozenset[SuppressionReason]:
    """Return the reasons for which an address gets no automatic mails. One query."""
    return reasons_of([(customer_pk, address)])[customer_pk, address]


def reasons_of(
    addresses: Collection[tuple[int, str]],
) -> Mapping[tuple[int, str], frozenset[SuppressionReason]]:
    """Return the reasons by customer (pk) and address. One query for all of them."""
    hashes = {address: _hashes(address) for _customer, address in addresses}
    kept = set(_kept.read(hashes=[*chain(*hashes.values())]))
    return {
        (customer, address): frozenset(
            reason
            for reason in SuppressionReason
            if any((customer, one, reason) in kept for one in hashes[address])
        )
        for customer, address in addresses
    }


@PreparedSelect
def _kept() -> QuerySet[Suppression, Any]:
    """Return what there is of the hashes of a slot."""
    hashes = Slot("hashes", Suppression._meta.get_field("address_hash"))
    rows = Suppression.objects.filter(address_hash__in=hashes).order_by()
    return rows.values_list("customer", "address_hash", "reason")


def is_reported_since(customer_pk: int, address: str, *, since: datetime) -> bool:
    """Return whether a mail provider has reported something of the address after `since`. One query."""
    rows = Suppression.objects.filter(customer=customer_pk, address_hash__in=_hashes(address))
    return rows.filter(reason__in=BY_REPORT, since__gt=since).exists()


def reported(customer_pk: int, addresses: Collection[str]) -> Mapping[str, SuppressionReason]:
    """Return those of the addresses of which a mail provider reported something to this customer, and what.

    One query where it reported nothing of any address; else one more for `HASHES_PER_QUERY` hashes.
    """
    rows = Suppression.objects.filter(customer=customer_pk, reason__in=BY_REPORT).order_by()
    if not rows.exists():
        return {}
    of_hash = {one: address for address in addresses for one in _hashes(address)}
    found: dict[str, SuppressionReason] = {}
    for some in batches.chunks(of_hash, HASHES_PER_QUERY):
        for digest, reason in rows.filter(address_hash__in=some).values_list("address_hash", "reason"):
            # Refused says more than unwanted: the mail does not even arrive.
            if found.get(of_hash[digest]) != SuppressionReason.BOUNCED:
                found[of_hash[digest]] = SuppressionReason(reason)
    return found


def end(
    customer_pk: int,
    address: str,
    *,
    reasons: Iterable[SuppressionReason],
    before: datetime | None = None,
) -> bool:
    """Remove these reasons for an address, older than `before` if given; return whether there was one."""
    rows = Suppression.objects.filter(
        customer=customer_pk, address_hash__in=_hashes(address), reason__in=list(reasons)
    )
    return bool((rows.filter(since__lt=before) if before else rows).delete()[0])


def forget(addresses: Iterable[str]) -> int:
    """Remove everything of these addresses, of all customers; return the number of rows."""
    hashes = [*chain.from_iterable(_hashes(one) for one in addresses)]
    return Suppression.objects.filter(address_hash__in=hashes).delete()[0]


def delete_old(*, now: datetime) -> int:
    """Remove what is older than `KEPT_FOR`; return the number of rows, bounded."""
    old = Suppression.objects.filter(since__lte=now - KEPT_FOR)
    return batches.delete_first(old.order_by("since", "pk"))


def _hashes(address: str) -> list[str]:
    """Return the address's hashes, that of the present secret key first."""
    key, keys = learner_key(address), (settings.SECRET_KEY, *settings.FORMER_SECRET_KEYS)
    return [
        salted_hmac("bursary.suppression", key, secret=one, algorithm="sha256").hexdigest() for one in keys
    ]
