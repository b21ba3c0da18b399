"""The rate of mails: at most `BURSARY_SENDS_PER_MINUTE` in any minute, over all workers and processes.

Each mail takes a slot in a queue of slots, `interval()` apart. One database row has the first free slot,
and is advanced by a conditional update: no lock is held while a mail is sent, and a worker that dies loses
only the slots that it has taken. The slots of one second may be used at once, so that fast workers do not
wait for each mail (the generic cell rate algorithm, ITU-T I.371).
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import DateTimeField, ExpressionWrapper, F, Value

from bursary.delivery.models import SendingRate
from bursary.lib.retries import repeated_after_deadlocks

NAME = "default"
MINUTE, AT_ONCE = timedelta(minutes=1), timedelta(seconds=1)
LONGEST_QUEUE = timedelta(hours=1)
"""How far ahead slots may be taken."""
ATTEMPTS = 5
"""The most attempts to take slots, when other processes take them first."""


def interval() -> timedelta:
    """Return the time between two slots: with those that may be used at once, no minute has too many."""
    return (MINUTE + AT_ONCE) / int(settings.SENDS_PER_MINUTE)


def available(*, now: datetime) -> int | None:
    """Return how many mails may be sent now; None for any number. One query, and none without a rate."""
    return _slots(_first(_stored(), now=now), now=now) if settings.SENDS_PER_MINUTE else None


def wait(*, now: datetime) -> timedelta:
    """Return how long it takes until a mail may be sent."""
    return max(_first(_stored(), now=now) - _tolerance() - now, timedelta(0))


def take_slots(count: int, *, now: datetime) -> int:
    """Take slots for at most `count` mails that are sent now; return how many there were."""
    if not settings.SENDS_PER_MINUTE or not count:
        return count
    for _try in range(ATTEMPTS):
        stored = _stored()
        first = _first(stored, now=now)
        taken = min(count, _slots(first, now=now))
        if taken == 0:
            return 0
        if stored is None:
            repeated_after_deadlocks(SendingRate.objects.get_or_create)(name=NAME, defaults={"free_at": now})
        elif SendingRate.objects.filter(name=NAME, free_at=stored).update(free_at=first + taken * interval()):
            return taken
    return 0


def take_slot_anyway(*, now: datetime) -> None:
    """Take a slot for a mail that does not wait. Later mails wait longer, at most `LONGEST_QUEUE`."""
    if settings.SENDS_PER_MINUTE and not take_slots(1, now=now):
        later = ExpressionWrapper(F("free_at") + Value(interval()), DateTimeField())
        latest = now + LONGEST_QUEUE - interval()
        SendingRate.objects.filter(name=NAME, free_at__lte=latest).update(free_at=later)


def is_ahead(*, now: datetime) -> bool:
    """Return whether mails that did not wait have taken slots that no other mail could take yet."""
    if not settings.SENDS_PER_MINUTE:
        return False
    return _first(_stored(), now=now) > now + max(AT_ONCE, interval())


def _stored() -> datetime | None:
    return SendingRate.objects.filter(name=NAME).values_list("free_at", flat=True).first()


def _first(stored: datetime | None, *, now: datetime) -> datetime:
    """Return the first slot from now on. One in the far future, written by a wrong clock, is ignored."""
    return stored if stored and now < stored <= now + LONGEST_QUEUE else now


def _tolerance() -> timedelta:
    return max(AT_ONCE - interval(), timedelta(0))


def _slots(first: datetime, *, now: datetime) -> int:
    latest = now + _tolerance()
    return (latest - first) // interval() + 1 if first <= latest else 0
