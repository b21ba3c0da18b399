"""The access token of a platform: fetched by client credentials, kept until shortly before it expires."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import anyio

from bursary.upstream.errors import UnreadableAnswer, UpstreamRefused

MARGIN_SECONDS = 60.0  # a token must outlive the call that uses it
MIN_SECONDS = 1.0  # the least time that a token is kept
DEFAULT_SECONDS = 300.0  # assumed lifetime if the answer has none
MAX_SECONDS = 86_400.0

_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")

PostForm = Callable[[str, Mapping[str, str]], Awaitable[object]]
"""Posts a form to an address and returns the JSON value of the answer; raises UpstreamError."""


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """Our client credentials at the platform's token endpoint, `url`/oauth2/access_token."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)


class Tokens:
    """The current token, shared by all calls. One call fetches it while the others wait."""

    def __init__(
        self,
        credentials: ClientCredentials,
        *,
        post_form: PostForm,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials = credentials
        self._post_form = post_form
        self._clock = clock
        self._fetching = anyio.Lock()
        self._token = ""
        self._good_until = 0.0

    async def current(self) -> str:
        """Return a token that stays valid for the next call.

        Raises UpstreamRefused (`credentials_refused`) if the endpoint refuses our credentials, and
        UpstreamUnavailable and UnreadableAnswer like any request.
        """
        async with self._fetching:
            if not self._token or self._clock() >= self._good_until:
                await self._fetch()
            return self._token

    def drop(self, token: str) -> None:
        """Drop a refused token, unless another has replaced it already."""
        if token == self._token:
            self._token = ""

    async def _fetch(self) -> None:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._credentials.client_id,
            "client_secret": self._credentials.client_secret,
            "token_type": "jwt",
        }
        try:
            answer = await self._post_form(f"{self._credentials.url.rstrip('/')}/oauth2/access_token", form)
        except UpstreamRefused as refused:
            # Without the answer's text, which may repeat the secret.
            detail = f"The token endpoint answered with {refused.status}."
            raise UpstreamRefused("credentials_refused", detail, status=refused.status) from None
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(answer, dict) or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise UnreadableAnswer("not_json", "The token endpoint answered without a token.")
        lifetime = answer.get("expires_in")
        if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or lifetime != lifetime:
            lifetime = DEFAULT_SECONDS  # also for NaN, which equals nothing
        seconds = float(min(max(lifetime, 0), MAX_SECONDS))
        self._token = token
        self._good_until = self._clock() + max(seconds - min(MARGIN_SECONDS, seconds / 4), MIN_SECONDS)
