"""The addresses that a customer's automatic mails do not go to, and the reasons.

An address is stored as a hash, keyed with the secret key at that time. It is read by the hashes of the
present and the former keys.
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
from bursary.lib.prepared import Parameter, PreparedSelect

KEPT_FOR = timedelta(days=2 * 365)
"""How long a suppression lasts: mailboxes change hands."""
HASHES_PER_QUERY = 10_000
BY_REPORT = (SuppressionReason.BOUNCED, SuppressionReason.COMPLAINED)
"""The reasons that a mail provider reports, the graver one first. A mail that an administrator requests ends
them."""


def hashed(address: str) -> str:
    """Return the keyed hash of an address, as stored. Without the secret key, guesses cannot be checked."""
    return _hashes(address)[0]


def add(customer_pk: int, address: str, *, reason: SuppressionReason, since: datetime) -> bool:
    """Add a reason, or move an existing one to a later `since`; return whether it is new."""
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
    """Return the reasons by customer pk and address. One query."""
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
    """Return the suppressions with these hashes."""
    hashes = Parameter("hashes", Suppression._meta.get_field("address_hash"))
    rows = Suppression.objects.filter(address_hash__in=hashes).order_by()
    return rows.values_list("customer", "address_hash", "reason")


def is_reported_since(customer_pk: int, address: str, *, since: datetime) -> bool:
    """Return whether a mail provider has reported a bounce or complaint after `since`. One query."""
    rows = Suppression.objects.filter(customer=customer_pk, address_hash__in=_hashes(address))
    return rows.filter(reason__in=BY_REPORT, since__gt=since).exists()


def reported(customer_pk: int, addresses: Collection[str]) -> Mapping[str, SuppressionReason]:
    """Return the addresses with a bounce or complaint reported to this customer, each with that reason.

    One query if the customer has no such report; else one more for each `HASHES_PER_QUERY` hashes.
    """
    rows = Suppression.objects.filter(customer=customer_pk, reason__in=BY_REPORT).order_by()
    if not rows.exists():
        return {}
    of_hash = {one: address for address in addresses for one in _hashes(address)}
    found: dict[str, SuppressionReason] = {}
    for some in batches.chunks(of_hash, HASHES_PER_QUERY):
        for digest, reason in rows.filter(address_hash__in=some).values_list("address_hash", "reason"):
            # A bounce takes precedence over a complaint: the mail does not arrive.
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
    """Delete these reasons for an address, with `before` only older ones; return whether there was one."""
    rows = Suppression.objects.filter(
        customer=customer_pk, address_hash__in=_hashes(address), reason__in=list(reasons)
    )
    return bool((rows.filter(since__lt=before) if before else rows).delete()[0])


def forget(addresses: Iterable[str]) -> int:
    """Delete all customers' suppressions of these addresses; return their number."""
    hashes = [*chain.from_iterable(_hashes(one) for one in addresses)]
    return Suppression.objects.filter(address_hash__in=hashes).delete()[0]


def delete_old(*, now: datetime) -> int:
    """Delete suppressions older than `KEPT_FOR`; return their number, bounded."""
    old = Suppression.objects.filter(since__lte=now - KEPT_FOR)
    return batches.delete_first(old.order_by("since", "pk"))


def _hashes(address: str) -> list[str]:
    """Return the address's hash by each secret key, the present one first."""
    key, keys = learner_key(address), (settings.SECRET_KEY, *settings.FORMER_SECRET_KEYS)
    return [
        salted_hmac("bursary.suppression", key, secret=one, algorithm="sha256").hexdigest() for one in keys
    ]
