"""A process of the web server: gunicorn's hooks around waitress' connections (decision 0026).

One thread reads whole requests and writes responses, for any number of connections. Other threads run the
application and never wait for a client: a slow client occupies a connection, not a thread.
"""

import logging
import os
import resource
import time
from collections.abc import Callable, Iterable
from typing import Any

from gunicorn.workers.base import Worker  # type: ignore[import-untyped]  # gunicorn has no types
from waitress import wasyncore  # type: ignore[import-untyped]  # waitress has no types
from waitress.adjustments import Adjustments  # type: ignore[import-untyped]  # as above
from waitress.channel import HTTPChannel  # type: ignore[import-untyped]  # as above
from waitress.server import TcpWSGIServer  # type: ignore[import-untyped]  # as above
from waitress.task import ErrorTask, Task, ThreadedTaskDispatcher, WSGITask  # type: ignore[import-untyped]  # as above

from bursary.lib import logs
from bursary.ops.connection_counts import ConnectionCounts

HEAD_SECONDS = 20  # from a request's first byte to the end of its head
REQUEST_SECONDS = 120  # from its first byte to its last: 4 MB at 270 kbit/s
IDLE_SECONDS = 75  # without a byte in either direction: longer than proxies keep a connection for reuse
MAX_CONNECTIONS = 2000  # of one process
FILES_BESIDES = 200  # open files of a process besides its connections
LONGEST_HEAD = 32 * 1024  # bytes
LONGEST_BODY = 16 * 1024 * 1024  # bytes; the application has a much lower limit, and a better error message
CHECK_SECONDS = 1  # between two checks for connections that last too long
YIELD_SECONDS = 0.1  # for so long, a process leaves new connections to one that has fewer
YIELD_STEP_SECONDS = 0.01  # between two checks whether they were accepted
ACCEPTED_AT_ONCE = 16
LINGER_SECONDS = 2.0  # a stopping process keeps idle connections for so long: a request may be on its way
DRAIN_SECONDS = 30  # a stopping process waits for so long for requests that run, or are being received

Log = Callable[[Task], None]


def allow_connections() -> None:
    """Raise the limit of open files for this process and its children, as far as needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = min(MAX_CONNECTIONS + FILES_BESIDES, hard if hard != resource.RLIM_INFINITY else 1 << 20)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _most_connections() -> int:
    """Return how many connections this process may have, within its limit of open files."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft - FILES_BESIDES)


# This logger warns of each request that waits for a thread.
logging.getLogger("waitress.queue").setLevel(logging.ERROR)


class _LoggedTask(WSGITask):  # type: ignore[misc]  # waitress has no types
    """Runs the application, and writes the line in the access log."""

    def service(self) -> None:
        super().service()
        self.channel.server.log_access(self)

    def build_response_header(self) -> bytes:
        if self.channel.server.stopping:
            self.set_close_on_finish()
        head: bytes = super().build_response_header()
        if self.request.command == "HEAD":  # no body follows, not even the empty chunk that ends one
            self.chunked_response = False
        return head


class _LoggedErrorTask(ErrorTask):  # type: ignore[misc]  # as above
    """Refuses an invalid request, and writes the line in the access log."""

    def service(self) -> None:
        super().service()
        self.channel.server.log_access(self)


class HttpConnection(HTTPChannel):  # type: ignore[misc]  # as above
    """A connection, with the time at which its unfinished request began."""

    task_class = _LoggedTask
    error_task_class = _LoggedErrorTask
    began = 0.0
    """When the first byte of the unfinished request arrived, in seconds of the monotonic clock."""

    def received(self, data: bytes) -> bool:
        """Receive more of a request, or a new one."""
        before = self.request
        done: bool = super().received(data)
        if self.request is not before or before is None:
            self.began = time.monotonic()
        return done

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being received, run or sent."""
        return not (self.requests or self.request or self.total_outbufs_len)

    @property
    def is_in_head(self) -> bool:
        """Whether a request's head has arrived in part."""
        return self.request is not None and not self.request.headers_finished

    def lasts_too_long(self, *, now: float) -> bool:
        """Return whether a request is received too slowly, at `now` on the monotonic clock."""
        if self.requests:  # the next request is not read while one runs
            self.began = now
        limit = HEAD_SECONDS if self.is_in_head else REQUEST_SECONDS
        return self.request is not None and now - self.began > limit

    def is_stuck(self, *, cutoff: float) -> bool:
        """Return whether the client has read nothing of its response since `cutoff`, in Unix time."""
        if not self.outbuf_lock.acquire(blocking=False):  # it is being written to
            return False
        try:
            return bool(self.total_outbufs_len) and self.last_activity < cutoff
        finally:
            self.outbuf_lock.release()


class HttpServer(TcpWSGIServer):  # type: ignore[misc]  # as above
    """The connections of one process, which leaves new ones to the process that has the fewest."""

    channel_class = HttpConnection

    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        listener: Any,
        *,
        threads: int,
        log_access: Log,
        counts: ConnectionCounts,
        number: int,
    ) -> None:
        self.log_access, self.counts, self.number = log_access, counts, number
        self.stopping = False
        self._leaves_since = 0.0  # since when this process has left new connections to others
        self._left_at = 0.0  # when it last left one
        tasks = ThreadedTaskDispatcher()
        tasks.set_thread_count(threads)
        super().__init__(
            application,
            {},
            False,  # it listens already
            listener,
            dispatcher=tasks,
            adj=Adjustments(
                sockets=[listener],
                ident="",
                connection_limit=_most_connections(),
                max_request_header_size=LONGEST_HEAD,
                max_request_body_size=LONGEST_BODY,
                channel_timeout=IDLE_SECONDS,
                cleanup_interval=CHECK_SECONDS,
                clear_untrusted_proxy_headers=False,  # the settings decide which of them are read
                log_socket_errors=False,  # clients may disconnect at any time
            ),
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
            bind_socket=False,
        )
        self.accepting = True

    def poll(self, *, seconds: float) -> None:
        """Wait at most `seconds` for something to read, write or accept, and do it."""
        waits = YIELD_STEP_SECONDS if self._has_just_left_one else seconds
        wasyncore.loop(timeout=waits, use_poll=True, map=self._map, count=1)
        if not self.stopping:
            self._write_count()

    def readable(self) -> bool:
        """Return whether to look for a new connection."""
        return bool(super().readable()) and not self._has_just_left_one

    def handle_accept(self) -> None:
        """Accept connections. If another process has fewer, leave them to it for `YIELD_SECONDS` first."""
        if self._is_ahead and self._may_leave_one(now=time.monotonic()):
            return
        self._left_at = self._leaves_since = 0.0
        for _ in range(ACCEPTED_AT_ONCE):
            if not self._accept() or self._is_ahead:
                break
        self._write_count()

    def maintenance(self, now: float) -> None:
        """Close connections that last too long, at `now` in Unix time."""
        super().maintenance(now)
        clock = time.monotonic() + (now - time.time())
        for one in list(self.active_channels.values()):
            if one.lasts_too_long(now=clock) or one.is_stuck(cutoff=now - IDLE_SECONDS):
                one.will_close = True
                one.handle_close()  # at once: a stuck one never becomes writable

    def stop_accepting(self) -> None:
        """Accept the connections that wait, and no more. From now on, each response closes its connection."""
        self.counts.close(self.number)
        self.stopping = True
        while self._accept():
            pass
        self.accepting = False
        self.del_channel()
        self.socket.close()

    def end_idle(self) -> None:
        """Close the connections without a request, and those with an unfinished head."""
        for one in self.active_channels.values():
            if one.is_idle or one.is_in_head:
                one.will_close = True

    def end(self) -> None:
        """Close everything."""
        self.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(self._map)

    def _accept(self) -> bool:
        """Accept one connection; return whether there was one."""
        before = len(self.active_channels)
        super().handle_accept()
        return len(self.active_channels) > before

    @property
    def _is_ahead(self) -> bool:
        """Whether another process has clearly fewer connections: an eighth fewer, if it has many."""
        least = self.counts.least(now=time.monotonic())
        return least is not None and len(self.active_channels) > least + least // 8

    def _may_leave_one(self, *, now: float) -> bool:
        """Record that a connection is left to others; return False once that lasts for `YIELD_SECONDS`."""
        if now - self._left_at > YIELD_SECONDS:  # another process accepted the last one; this one is new
            self._leaves_since = now
        self._left_at = now
        return now - self._leaves_since < YIELD_SECONDS

    @property
    def _has_just_left_one(self) -> bool:
        return time.monotonic() - self._left_at < YIELD_STEP_SECONDS

    def _write_count(self) -> None:
        self.counts.write(self.number, len(self.active_channels), now=time.monotonic())


class HttpWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """Serves requests in one of gunicorn's processes, from its fork until SIGTERM."""

    server: HttpServer | None = None
    counts: ConnectionCounts
    number: int

    def run(self) -> None:
        """Serve until stopped; then finish the requests that run or are being received."""
        [listener] = self.sockets
        server = self.server = HttpServer(
            self.wsgi,
            listener.sock,
            threads=self.cfg.threads,
            log_access=self._log_access,
            counts=self.counts,
            number=self.number,
        )
        while self.alive and self.ppid == os.getppid():
            self.notify()
            server.poll(seconds=1.0)
        self.cfg.worker_int(self)
        server.stop_accepting()
        began = time.monotonic()
        while server.active_channels and (took := time.monotonic() - began) < DRAIN_SECONDS:
            self.notify()
            if took > LINGER_SECONDS:  # no more requests are on their way
                server.end_idle()
            server.poll(seconds=0.1)
        server.end()

    def handle_exit(self, sig: int, frame: object) -> None:
        """Stop, as SIGTERM asks."""
        self.alive = False
        if self.server:
            self.server.pull_trigger()  # a signal alone does not wake the loop

    def handle_quit(self, sig: int, frame: object) -> None:
        """Stop, as Ctrl-C asks, in the same way."""
        self.handle_exit(sig, frame)

    def _log_access(self, task: Task) -> None:
        """Write a request's line in the access log, without its search terms."""
        if not self.cfg.accesslog:
            return
        request, environ = task.request, getattr(task, "environ", None) or {}
        address = environ.get("REMOTE_ADDR") or task.channel.addr[0]
        url = logs.masked_url(getattr(request, "request_uri", "-"))
        sent = "-" if task.content_length is None else task.content_length
        self.log.access_log.info(
            '%s - - %s "%s %s HTTP/%s" %s %s "%s" "%s"',
            *(address, self.log.now(), getattr(request, "command", "-"), url, task.version),
            *(task.status.partition(" ")[0], sent),
            logs.masked_url(environ.get("HTTP_REFERER", "-")),
            logs.printable(environ.get("HTTP_USER_AGENT", "-")),
        )
