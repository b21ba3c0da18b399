"""The limit of requests a minute, for each API key and for each user without a key (decision 0023)."""

import time

from django.conf import settings
from django.utils import timezone
from django.utils.translation import ngettext
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from bursary.access import rate_limits
from bursary.access.models import User
from bursary.api.authentication import identity_of

GETS = rate_limits.ProcessTally()
"""The GETs that this process has answered within the minute, by caller."""


class TooManyRequests(APIException):
    """The caller has reached its limit of requests for this minute. Nothing was changed."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS

    def __init__(self, kind: str, *, limit: int, wait: int) -> None:
        sentence = ngettext(
            "You have sent %(limit)s %(kind)s request within a minute, and may not send more.",
            "You have sent %(limit)s %(kind)s requests within a minute, and may not send more.",
            limit,
        )
        super().__init__(sentence % {"limit": f"{limit:,}", "kind": kind})
        self.wait = wait
        """The seconds of `Retry-After`."""


class RateLimit(BaseThrottle):
    """Admits requests within their caller's limit. Requests without sign-in are not counted."""

    def allow_request(self, request: Request, view: object) -> bool:
        """Count the request and return True. Raises TooManyRequests."""
        if isinstance(request.user, User):
            count = count_get if request.method in SAFE_METHODS else count_post
            count(request)
        return True


def count_get(request: Request) -> None:
    """Count a request that only reads, for this process. Raises TooManyRequests."""
    limit = settings.GETS_PER_MINUTE
    wait = limit and GETS.count(identity_of(request), limit=limit, seconds=time.monotonic())
    if wait:
        raise TooManyRequests("GET", limit=limit, wait=wait)


def count_post(request: Request) -> None:
    """Count a request that changes something, for all processes. One write. Raises TooManyRequests."""
    limit = settings.POSTS_PER_MINUTE
    wait = limit and rate_limits.count_post(identity_of(request), limit=limit, now=timezone.now())
    if wait:
        raise TooManyRequests("POST", limit=limit, wait=wait)
