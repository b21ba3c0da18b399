"""The token that a platform knows us by: fetched by client credentials, kept until near its end."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bursary.upstream.deadline import Deadline
from bursary.upstream.errors import UnreadableAnswer, UpstreamRefused
from bursary.upstream.wire import Question, Wire, value_of

MARGIN_SECONDS = 60.0  # a token must outlive the call it is used for
SHORTEST_SECONDS = 1.0  # what a token is kept for at least, however short it is said to live
UNTOLD_SECONDS = 300.0  # what one is taken to live for that does not say
LONGEST_SECONDS = 86_400.0
MOST_BYTES = 64 * 1024

_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are: a client of the platform's token endpoint at `url`/oauth2/access_token."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)


class Tokens:
    """One token for all threads. Who finds it missing fetches it; the others wait, as long as they may."""

    def __init__(
        self, wire: Wire, credentials: Credentials, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wire = wire
        self._credentials = credentials
        self._clock = clock
        self._fetching = threading.Lock()
        self._token = ""
        self._dropped = ""
        self._good_until = 0.0

    def current(self, *, deadline: Deadline) -> str:
        """Return a token that is good for a while yet.

        Raises UpstreamRefused (`credentials_refused`) where the endpoint does not know us, and
        UpstreamUnavailable and UnreadableAnswer as any question does.
        """
        if not self._fetching.acquire(timeout=deadline.remaining()):
            raise deadline.exceeded()
        try:
            if self._token == self._dropped or self._clock() >= self._good_until:
                self._fetch(deadline)
            return self._token
        finally:
            self._fetching.release()

    def drop(self, token: str) -> None:
        """Let whoever asks next fetch another, unless this one has been replaced. Never waits."""
        self._dropped = token

    def _fetch(self, deadline: Deadline) -> None:
        who = self._credentials
        form = {
            "grant_type": "client_credentials",
            "client_id": who.client_id,
            "client_secret": who.client_secret,
            "token_type": "jwt",
        }
        question = Question("POST", f"{who.url.rstrip('/')}/oauth2/access_token", form=form)
        answer = self._wire.exchange(question, deadline=deadline, most_bytes=MOST_BYTES)
        try:
            value = value_of(answer, hiding=who.client_secret)
        except UpstreamRefused as refused:
            raise UpstreamRefused(
                "credentials_refused",
                f"The token endpoint answered with {refused.status}.",
                status=refused.status,
            ) from None  # its words may repeat what we sent
        token = value.get("access_token") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise UnreadableAnswer("not_json", "The token endpoint answered without a token.")
        self._token, self._dropped = token, ""
        self._good_until = self._clock() + _kept_for(value.get("expires_in"))


def _kept_for(lifetime: object) -> float:
    """A quarter of a short life is margin enough."""
    told = isinstance(lifetime, int | float) and not isinstance(lifetime, bool)
    seconds = float(lifetime) if told and isinstance(lifetime, int | float) else UNTOLD_SECONDS
    seconds = min(max(seconds, 0.0), LONGEST_SECONDS)
    return max(seconds - min(MARGIN_SECONDS, seconds / 4), SHORTEST_SECONDS)
