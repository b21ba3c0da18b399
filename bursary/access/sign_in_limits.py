"""Limits of failed sign-ins: by name at one address, by name, and by address (decision 0027).

Every page checks passwords here. API keys and tokens are not limited.
"""

import ipaddress
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from bursary.access.models import SignInFailures, User
from bursary.lib import batches
from bursary.lib.inserts import insert_missing
from bursary.lib.prepared import Parameter, PreparedSelect
from bursary.lib.retries import repeated_after_deadlocks

WINDOW = timedelta(minutes=30)
"""How long failures count, and the longest time that a lock lasts."""
MAX_OF_NAME_AT_ADDRESS = 10
MAX_OF_NAME = 100  # from many addresses
MAX_OF_ADDRESS = 100  # of many names: an office may share one address
_IPV6_NETWORK = 64  # bits: one client has all addresses of such a network


class LimitedBackend(ModelBackend):
    """Checks passwords, unless too many were wrong. The answer does not show whether a name exists."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **more: Any,
    ) -> User:
        """Return the account. Raises PermissionDenied, so that Django calls no other backend.

        During a lock no password is checked, not even the right one, and `request.locked_until` is set.
        """
        limits = _limits(username or "", request=request)
        now = timezone.now()
        failed = SignInFailures.objects.filter(digest__in=limits, since__gt=now - WINDOW)
        known = {one.digest: one for one in failed}
        locked = [one.since + WINDOW for one in known.values() if one.failures >= limits[one.digest]]
        if locked:
            if request:
                request.locked_until = max(locked)  # type: ignore[attr-defined]  # read by `locked_until`
            raise PermissionDenied
        user = super().authenticate(request, username=username, password=password, **more)
        if not isinstance(user, User):
            _count(limits, now=now)
            raise PermissionDenied
        of_name = set(list(limits)[:2]) & set(known)
        if of_name:
            _delete(digest__in=of_name)
        return user

    def get_user(self, user_id: int) -> User | None:
        """Return the account of a session, or None if it does not exist or cannot sign in. One query."""
        user: User | None = _ACCOUNT.first(pk=user_id)
        return user if user and self.user_can_authenticate(user) else None


_ACCOUNT = PreparedSelect(lambda: User.objects.filter(pk=Parameter("pk", User._meta.pk)))


def locked_until(request: HttpRequest) -> datetime | None:
    """Return when the lock ends that stopped this request's sign-in; None if nothing stopped it."""
    until: datetime | None = getattr(request, "locked_until", None)
    return until


def unlock(name: str, *, request: HttpRequest) -> None:
    """Delete the failures of the name and of the client's address, after a password reset by mail."""
    _delete(digest__in=_limits(name, request=request))


def forget(name: str) -> None:
    """Delete the failures of a name. Those counted by name and address lapse; their digest names neither."""
    _delete(digest=_digest("name", name))


def delete_old(*, now: datetime) -> int:
    """Delete failures that no longer count; return their number, bounded."""
    return batches.delete_first(SignInFailures.objects.filter(since__lte=now - WINDOW).order_by("since"))


@repeated_after_deadlocks
def _delete(**of: Any) -> None:
    SignInFailures.objects.filter(**of).delete()


def _limits(name: str, *, request: HttpRequest | None) -> Mapping[str, int]:
    """Return the digests that failures are counted by, each with its limit: those of the name first.

    The digests are keyed, so that the table has neither names nor addresses.
    """
    network = _network(request.META.get("REMOTE_ADDR", "") if request else "")
    return {
        _digest("name at address", name, network): MAX_OF_NAME_AT_ADDRESS,
        _digest("name", name): MAX_OF_NAME,
        _digest("address", network): MAX_OF_ADDRESS,
    }


def _network(address: str) -> str:
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(known, ipaddress.IPv4Address) or known.ipv4_mapped:
        return str(known)
    return str(ipaddress.ip_network((known, _IPV6_NETWORK), strict=False))


def _digest(*parts: str) -> str:
    text = "\0".join(parts).encode(errors="surrogatepass")
    return salted_hmac("bursary.access.sign_in_limits", text, algorithm="sha256").hexdigest()


def _count(limits: Mapping[str, int], *, now: datetime) -> None:
    """Count a failure. Each statement commits alone, so that no process waits for another's rows."""
    for digest in sorted(limits):
        rows = SignInFailures.objects.filter(digest=digest)
        new = SignInFailures(digest=digest, failures=0, since=now)
        insert_missing([new], unique=["digest"])
        rows.filter(since__lte=now - WINDOW).update(failures=0, since=now)
        rows.update(failures=F("failures") + 1)
