"""enterprise-catalog over HTTP.

The facts about it that this module states were observed on a running enterprise-catalog.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from time import monotonic
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

from bursary.catalog import parser
from bursary.catalog.answers import CatalogTooSlow, CatalogUnavailable, Known, Unfetched
from bursary.catalog.fields import is_key
from bursary.upstream.client import Client
from bursary.upstream.errors import (
    Outage,
    UnreadableAnswer,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)

MOST_KEYS = 50  # a request; upstream refuses more than 100, and a record may have 1 MB
KEYS_AT_ONCE = 500  # of which somebody is asked whether they are known
LONGEST_QUERY = 3_000  # characters; web servers commonly refuse request lines beyond 4,094
MOST_PARTS = 50  # requests to find what is wrong with one that failed: no more than it has keys
LONGEST_SEARCH = 30.0  # seconds for that, where nobody says how long the question may take
DOUBT = 14  # points without a single answer, after which it is not the records: see `_Suspects`

_AT_ONCE = {
    Outage.CONNECTION_FAILED,
    Outage.TOO_MANY_REQUESTS,
    Outage.CIRCUIT_OPEN,
}
_WHAT_TO_CHECK = {
    "credentials_refused": "The token endpoint does not know us: check the client id and its secret.",
    "unauthorized": "enterprise-catalog does not accept our token: check that it trusts the token endpoint.",
    "forbidden": "enterprise-catalog lets us not read this catalog: give our user there the operator's role.",
    "not_found": "enterprise-catalog does not know this catalog: check the budget's catalog and the address.",
    "redirected": "enterprise-catalog redirects: check the address, and whether it begins with https.",
}


class HttpCatalog:
    """enterprise-catalog. Shared by threads; one for each process.

    A listing is complete or it raises: each key that upstream lists comes back as a record or as `Unfetched`.
    """

    name: Final = "enterprise-catalog"

    def __init__(self, remote: Client) -> None:
        self.remote = remote

    def pages(
        self, catalog_uuid: UUID, *, size: int, known: Known | None = None
    ) -> Iterator[Sequence[object]]:
        """Stream the listing in no particular order; see `CatalogSource`.

        Keys are listed by asking how the catalog differs from nothing. A paged listing leaves out inactive
        courses, and has no order, so that its pages overlap and miss records.
        """
        if size < 1:
            raise ValueError("A page holds at least one record.")
        return self._pages(catalog_uuid, size, known)

    def _pages(self, catalog_uuid: UUID, size: int, known: Known | None) -> Iterator[Sequence[object]]:
        keys, page = self._listed(catalog_uuid)
        unknown = _unknown(keys, known) if known else keys
        for number, chunk in enumerate(_chunks(unknown, most=min(size, MOST_KEYS))):
            page += self._records(catalog_uuid, chunk, until=None, alive=number > 0)
            page += _not_served(chunk, page)
            yield from (page[start : start + size] for start in range(0, len(page), size))
            page = []
        yield from (page[start : start + size] for start in range(0, len(page), size))

    def fetch(
        self,
        catalog_uuid: UUID,
        *,
        keys: Sequence[str],
        within: timedelta | None = None,
        alive: bool = False,
    ) -> Sequence[object]:
        """Return the records that carry any of the keys, and what upstream adds; see `CatalogSource`."""
        until = None if within is None else monotonic() + within.total_seconds()
        wanted = list(dict.fromkeys(key for key in keys if is_key(key)))
        found: list[object] = []
        for chunk in _chunks(wanted, most=MOST_KEYS):
            found += self._records(catalog_uuid, chunk, until=until, alive=alive or chunk[0] != wanted[0])
        return found

    def _listed(self, catalog_uuid: UUID) -> tuple[list[str], list[object]]:
        """Return the keys that the catalog holds, and what stands for those that are none."""
        try:
            answer = self.remote.post(
                f"/api/v1/enterprise-catalogs/{catalog_uuid}/generate_diff",
                json={"content_keys": []},
                repeatable=True,
                keeping=_key_alone,
            )
        except UpstreamError as failure:
            raise _unavailable(failure) from failure
        listed = answer.get("items_not_included") if isinstance(answer, dict) else None
        if not isinstance(listed, list):
            raise CatalogUnavailable("enterprise-catalog's list of keys cannot be read: is this its address?")
        keys = list(dict.fromkeys(key for key in listed if isinstance(key, str) and is_key(key)))
        unusable: list[object] = [
            Unfetched("", "key_unusable", f"Entry {position} of the listing has no usable key.")
            for position, key in enumerate(listed, start=1)
            if not is_key(key)
        ]
        return keys, unusable

    def _records(
        self, catalog_uuid: UUID, keys: Sequence[str], *, until: float | None, alive: bool
    ) -> list[object]:
        """Return what upstream answers for a chunk of keys. Where it fails on them, find on which.

        Where it answers for none it is an outage, unless it answered others just before (`alive`).
        """
        try:
            return self._asked(catalog_uuid, keys, within=None if until is None else _left(until))
        except UpstreamError as failure:
            if not _may_be_a_records(failure):
                raise _unavailable(failure) from failure
            ends = monotonic() + LONGEST_SEARCH if until is None else until
            suspects = _Suspects(keys, failure, until=ends)
        while part := suspects.next_part():
            try:
                suspects.answered(self._asked(catalog_uuid, part, within=suspects.share(), suspect=True))
            except UpstreamError as failure:
                suspects.failed(part, failure)
        return suspects.conclude(alive=alive)

    def _asked(
        self, catalog_uuid: UUID, keys: Sequence[str], *, within: timedelta | None, suspect: bool = False
    ) -> list[object]:
        answer = self.remote.get(
            f"/api/v2/enterprise-catalogs/{catalog_uuid}/get_content_metadata/",
            params=[*(("content_keys", key) for key in keys), ("traverse_pagination", "1")],
            within=within,
            suspect=suspect,
        )
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(answer, dict) or not isinstance(results, list):
            raise UnreadableAnswer("not_json", "The answer has no list of results.")
        if answer.get("next"):
            raise UnreadableAnswer("not_json", "The answer is only a part.")
        return results


def _key_alone(item: dict[str, Any]) -> object:
    """Keep of an item in a list of keys its key: a hundred thousand items would be the most that is held."""
    return item.get("content_key", item)


class _Suspects:
    """Finds, by halves, what in a failed request it fails on.

    Halves are asked in turn, so that one bad record does not look like a row of failures. Each has a share of
    the time that is left, so that silence leaves time for the others. Until something is answered, an answer
    with a fault costs one point and silence seven; at `DOUBT` points it is an outage. That is both halves in
    silence, or faults in all halves, quarters and eighths. After `MOST_PARTS` requests, or when time is up,
    the rest is given up.
    """

    def __init__(self, keys: Sequence[str], failure: UpstreamError, *, until: float) -> None:
        self._found: list[object] = []
        self._waiting: deque[Sequence[str]] = deque()
        self._until = until
        self._last = failure
        self._requests = 0
        self._points = 0
        self._answered = False
        self._fail(keys, failure)

    def next_part(self) -> Sequence[str]:
        """Return keys to ask for; none when all is known or given up."""
        if not self._waiting or self._requests == MOST_PARTS or self._until <= monotonic():
            return ()
        self._requests += 1
        return self._waiting.popleft()

    def share(self) -> timedelta:
        """Return how long the part in hand may take: if it is silent, its halves wait with the others."""
        return _left(self._until) / (len(self._waiting) + 2)

    def answered(self, records: Sequence[object]) -> None:
        """Take in what a part's keys brought."""
        self._answered = True
        self._found += records

    def failed(self, part: Sequence[str], failure: UpstreamError) -> None:
        """Divide a part further. Raises CatalogUnavailable where it is not the records.

        Where that shows after something was answered, what was answered is kept, and the rest given up.
        """
        self._points += _cost(failure)
        outage = not _may_be_a_records(failure)
        if not self._answered and (outage or self._points >= DOUBT):
            raise _unavailable(failure) from failure
        if outage:
            self._waiting.append(part)
            self._requests = MOST_PARTS
        else:
            self._fail(part, failure)

    def conclude(self, *, alive: bool) -> list[object]:
        """Return what was found, and what stands for the rest.

        Raises CatalogUnavailable where nothing was answered, and others were not either (`alive`).
        """
        if not self._answered and not alive:
            raise _unavailable(self._last)
        return [
            *self._found,
            *(
                Unfetched(key, "upstream_error", "Records asked for with it failed; which, is not known yet.")
                for part in self._waiting
                for key in part
            ),
        ]

    def _fail(self, keys: Sequence[str], failure: UpstreamError) -> None:
        self._last = failure
        too_large = failure.reason == "too_large"
        self._answered |= too_large
        if len(keys) == 1:
            self._found.append(
                Unfetched(keys[0], "too_large" if too_large else "upstream_error", str(failure))
            )
            return
        middle = len(keys) // 2
        self._waiting += (keys[:middle], keys[middle:])


def _may_be_a_records(failure: UpstreamError) -> bool:
    """Whether fewer keys may be answered where these were not."""
    if isinstance(failure, UpstreamUnavailable):
        return failure.outage not in _AT_ONCE
    return failure.reason not in _WHAT_TO_CHECK


def _cost(failure: UpstreamError) -> int:
    silent = isinstance(failure, UpstreamUnavailable) and failure.outage is not Outage.SERVER_ERROR
    return DOUBT // 2 if silent else 1


def _left(until: float) -> timedelta:
    return timedelta(seconds=max(until - monotonic(), 0.0))


def _unknown(keys: Sequence[str], known: Known) -> Iterator[str]:
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[start : start + KEYS_AT_ONCE]
        passed_over = known(some)
        yield from (key for key in some if key not in passed_over)


def _chunks(keys: Iterable[str], *, most: int) -> Iterator[list[str]]:
    """Cut keys into requests, by their number and by the length of the query that they make."""
    chunk: list[str] = []
    length = 0
    for key in keys:
        longer = len("content_keys=&") + len(quote(key, safe=""))
        if chunk and (len(chunk) == most or length + longer > LONGEST_QUERY):
            yield chunk
            chunk, length = [], 0
        chunk.append(key)
        length += longer
    if chunk:
        yield chunk


def _not_served(keys: Sequence[str], answer: Sequence[object]) -> list[object]:
    """What stands for the keys that are listed, and in no record of the answer."""
    met: set[object] = set()
    for element in answer:
        if isinstance(element, Unfetched):
            met.add(element.content_key)
        elif isinstance(element, dict):
            met.update(parser.keys(element))
            met.update(value for value in (element.get("key"), element.get("uuid")) if isinstance(value, str))
    missing = [key for key in keys if key not in met and key.lower() not in met]
    return [Unfetched(key, "not_served", "It is listed, and nothing came for its key.") for key in missing]


def _unavailable(failure: UpstreamError) -> CatalogUnavailable:
    if isinstance(failure, UpstreamRefused):
        advice = _WHAT_TO_CHECK.get(failure.reason, "enterprise-catalog refuses the question.")
        return CatalogUnavailable(f"{advice} {failure}")
    late = isinstance(failure, UpstreamUnavailable) and failure.outage is Outage.DEADLINE_EXCEEDED
    kind = CatalogTooSlow if late else CatalogUnavailable
    return kind(f"enterprise-catalog is unavailable. {failure}")
