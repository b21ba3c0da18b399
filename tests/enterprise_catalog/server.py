"""enterprise-catalog and the LMS's token endpoint on loopback, as a running one was seen to answer.

It is built from what upstream does, not from what our client needs: a wrong question gets the answer that
upstream would give.
"""

import contextlib
import json
import secrets
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

from tests.enterprise_catalog import faults
from tests.enterprise_catalog.answers import Answer, answer_to
from tests.enterprise_catalog.database import CatalogDatabase, Record
from tests.enterprise_catalog.faults import Fault

CATALOG = UUID("11111111-1111-4111-8111-111111111111")
CLIENT_ID, CLIENT_SECRET = "bursary-worker", "s3cret-of-the-worker"
LONGEST_REQUEST_LINE = 4094  # gunicorn's, before which it refuses
TOKEN_PATH = "/oauth2/access_token"  # an address


@dataclass(frozen=True)
class Asked:
    """A request as it came. `query` has every value of every name."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    body: bytes
    authorization: str
    cookie: str = ""

    @property
    def keys(self) -> list[str]:
        return self.query.get("content_keys", [])


@dataclass
class _Trouble:
    fault: Fault
    times: float
    concerns: Callable[[Asked], bool]


@dataclass
class Upstream:
    """The running server: its address, what was asked of it, and what can happen to it."""

    database: CatalogDatabase
    url: str = ""
    requests: list[Asked] = field(default_factory=list)
    token_lifetime: float = 3600.0  # seconds, as clients are informed
    has_role: bool = True
    _tokens: dict[str, float] = field(default_factory=dict)
    _troubles: list[_Trouble] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def asked(self, path_part: str) -> list[Asked]:
        """Return the requests with this in their path."""
        return [asked for asked in self.requests if path_part in asked.path]

    def fails_with(
        self,
        fault: Fault,
        *,
        times: float = float("inf"),
        path: str = "/api/",
        key: str = "",
    ) -> None:
        """Fail at the next `times` requests with `path` in their path, and with `key`, if one is given."""

        def concerns(asked: Asked) -> bool:
            return path in asked.path and (not key or key in asked.keys)

        with self._lock:
            self._troubles.append(_Trouble(fault, times, concerns))

    def recovers(self) -> None:
        """Answer again."""
        with self._lock:
            self._troubles.clear()

    def edit(self, key: str, **changes: object) -> None:
        """Change fields of a record, and sync."""
        self.database.edit(key, **changes)
        self.database.sync()

    def deactivate(self, key: str) -> None:
        """Let all runs of a course be over: it leaves listings, and is still there by key."""
        self.edit(key, active=False)

    def remove(self, key: str, *, catalog_uuid: UUID = CATALOG) -> None:
        """Take a record out of the catalog; v1/content-metadata goes on answering with it."""
        self.database.remove(key, catalog=str(catalog_uuid))

    def serve(self, catalog_uuid: UUID, records: Iterable[Record]) -> None:
        """Serve this catalog these records of their keys: see `CatalogDatabase.serve`."""
        self.database.serve(catalog_uuid, records)

    def allow_restricted(self, catalog_uuid: UUID, run_key: str) -> None:
        """Let the catalog's query allow a restricted run, and sync."""
        self.database.allow_restricted(catalog_uuid, run_key)
        self.database.sync()

    def withdraw_restricted(self, catalog_uuid: UUID, run_key: str) -> None:
        """Let the catalog's query no longer allow a restricted run, and sync."""
        self.database.withdraw_restricted(catalog_uuid, run_key)
        self.database.sync()

    def rename_key(self, old: str, new: str) -> None:
        """Give a course another key, and sync."""
        self.database.rename_key(old, new)
        self.database.sync()

    def sync(self) -> None:
        """Sync, while nothing has changed: the stamps of all records move."""
        self.database.sync()

    def revoke_tokens(self) -> None:
        """Accept none of the tokens given out so far."""
        self._tokens.clear()

    def issue_token(self, form: Mapping[str, list[str]]) -> Answer:
        """Answer at the token endpoint."""
        if form.get("grant_type") != ["client_credentials"]:
            return Answer(400, {"error": "unsupported_grant_type"})
        if (form.get("client_id"), form.get("client_secret")) != ([CLIENT_ID], [CLIENT_SECRET]):
            return Answer(401, {"error": "invalid_client"})
        kind = "JWT" if form.get("token_type") == ["jwt"] else "Bearer"
        token = secrets.token_urlsafe(32)
        if kind == "JWT":
            self._tokens[token] = time.monotonic() + self.token_lifetime
        seconds = int(self.token_lifetime)
        return Answer(
            200, {"access_token": token, "expires_in": seconds, "token_type": kind, "scope": "read write"}
        )

    def admits(self, authorization: str) -> bool:
        """Whether the header carries a token that is good. Bearer is refused."""
        scheme, _, token = authorization.partition(" ")
        return scheme == "JWT" and self._tokens.get(token, 0.0) > time.monotonic()

    def trouble_with(self, asked: Asked) -> Fault | None:
        """Note the request, and return the fault that is due at it."""
        with self._lock:
            self.requests.append(asked)
            for failure in self._troubles:
                if failure.times > 0 and failure.concerns(asked):
                    failure.times -= 1
                    return failure.fault
        return None

    def stop(self) -> None:
        """End every answer that is being delayed."""
        self._stopping.set()

    @property
    def stopping(self) -> threading.Event:
        return self._stopping


@contextlib.contextmanager
def enterprise_catalog(
    records: Iterable[Record] = (), *, catalogs: Mapping[UUID, Collection[str]] | None = None
) -> Iterator[Upstream]:
    """Serve the records for the duration: all from CATALOG, or from each catalog those of its keys."""
    database = CatalogDatabase(records, [str(catalog) for catalog in catalogs or (CATALOG,)])
    for catalog, keys in (catalogs or {}).items():
        for key in database.members(str(catalog)) - set(keys):
            database.remove(key, catalog=str(catalog))
    upstream = Upstream(database)
    server = _Server(("127.0.0.1", 0), type("Bound", (_Handler,), {"upstream": upstream}))
    upstream.url = f"http://127.0.0.1:{server.server_address[1]}"
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    serving.start()
    try:
        yield upstream
    finally:
        upstream.stop()
        server.shutdown()
        server.server_close()
        serving.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do not print tracebacks of clients that close the connection: tests make them."""
        if not isinstance(sys.exc_info()[1], OSError | ValueError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for the client to acknowledge its head
    upstream: Upstream

    def do_GET(self) -> None:  # http.server's name for it
        """Answer any request."""
        address = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = parse_qs(address.query, keep_blank_values=True)
        authorization, cookie = (self.headers.get(name, "") for name in ("Authorization", "Cookie"))
        asked = Asked(self.command, unquote(address.path), query, body, authorization, cookie)
        fault = self.upstream.trouble_with(asked)
        if fault is not None and fault(self, self.upstream.stopping):
            return
        self._send(self._answer(asked))

    do_POST = do_GET  # noqa: N815  # http.server's name for it

    def log_message(self, format: str, *args: object) -> None:  # http.server's name for it
        """Keep quiet."""

    def _answer(self, asked: Asked) -> Answer:
        if len(self.requestline) > LONGEST_REQUEST_LINE:
            return Answer(400, faults.HTML)
        if asked.path == TOKEN_PATH:
            return self.upstream.issue_token(parse_qs(asked.body.decode()))
        if not self.upstream.admits(asked.authorization):
            return Answer(401, {"detail": "Authentication credentials were not provided."})
        return answer_to(
            asked.method,
            asked.path,
            query=asked.query,
            body=asked.body,
            database=self.upstream.database,
            url=self.upstream.url,
            has_role=self.upstream.has_role,
        )

    def _send(self, answer: Answer) -> None:
        html = isinstance(answer.value, bytes)
        body = answer.value if isinstance(answer.value, bytes) else json.dumps(answer.value).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/html" if html else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "sessionid=of-upstream; Path=/")
        self.end_headers()
        self.wfile.write(body)
