"""The same enterprise-catalog asked by calls instead of connections: for tests that ask a great deal."""

import json as to_json
from collections.abc import Callable, Sequence
from datetime import timedelta
from urllib.parse import parse_qs, urlencode

from bursary.upstream.client import Client, ObjectHook
from bursary.upstream.errors import Outage, UpstreamRefused, UpstreamUnavailable
from tests.enterprise_catalog.answers import answer_to
from tests.enterprise_catalog.database import CatalogDatabase

LISTING, RECORDS = "generate_diff", "get_content_metadata"


class WithoutSockets(Client):
    """A client of the database. It can fail in the ways that a catalog must distinguish.

    `down` fails every request; `fails_on` those for any of these keys; `shows` cuts listings of keys short.
    `meanwhile` is called once, while an answer with records is on its way.
    """

    def __init__(self, database: CatalogDatabase) -> None:
        self.database = database
        self.questions = 0
        self.down = False
        self.fails_on: set[str] = set()
        self.shows: int | None = None
        self.meanwhile: Callable[[], object] | None = None

    def recovers(self) -> None:
        """Answer everything again."""
        self.down, self.shows = False, None
        self.fails_on.clear()

    def get(
        self,
        path: str,
        *,
        params: Sequence[tuple[str, str]] = (),
        timeout: timedelta | None = None,
        bisecting: bool = False,
    ) -> object:
        answer = self._answer("GET", path, query=parse_qs(urlencode(params)), body=b"")
        return to_json.loads(to_json.dumps(answer))  # as the wire does: nothing is shared with the database

    def post(
        self,
        path: str,
        *,
        json: object,
        timeout: timedelta | None = None,
        idempotent: bool = False,
        object_hook: ObjectHook | None = None,
    ) -> object:
        answer = self._answer("POST", path, query={}, body=to_json.dumps(json).encode())
        return to_json.loads(to_json.dumps(answer), object_hook=object_hook)

    def _answer(self, method: str, path: str, *, query: dict[str, list[str]], body: bytes) -> object:
        self.questions += 1
        if self.down:
            raise UpstreamUnavailable(Outage.SERVER_UNAVAILABLE, "It answered with 503.")
        if self.fails_on.intersection(query.get("content_keys", ())):
            raise UpstreamUnavailable(Outage.SERVER_ERROR, "It answered with 500.")
        answer = answer_to(
            method, path, query=query, body=body, database=self.database, url="", has_role=True
        )
        if answer.status != 200:
            raise UpstreamRefused("refused", f"It answered with {answer.status}.", status=answer.status)
        value = answer.value
        if LISTING in path and self.shows is not None and isinstance(value, dict):
            value = value | {"items_not_included": value["items_not_included"][: self.shows]}
        if RECORDS in path:
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile:
                meanwhile()
        return value
