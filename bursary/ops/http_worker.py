"""A process of the web server: gunicorn's hooks around waitress' connections (decision 0026).

One thread reads requests, whole, and writes answers, of any number of connections. Other threads run the
application, and see no client: a slow one costs a connection, not a thread.
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
FILES_BESIDES = 200  # that a process has open besides connections
LONGEST_HEAD = 32 * 1024  # bytes
LONGEST_BODY = 16 * 1024 * 1024  # bytes; the application, which answers better, refuses much shorter ones
LOOK_SECONDS = 1  # between two looks at what has lasted for too long
YIELD_SECONDS = 0.1  # for which a process leaves new connections to one that has fewer
YIELD_STEP_SECONDS = 0.01  # between two looks at whether they were taken
ACCEPTED_AT_ONCE = 16
LINGER_SECONDS = 2.0  # for which a stopping process keeps idle connections: a request may be on its way
DRAIN_SECONDS = 30  # for requests that run, or are being sent, when the process is stopped

Log = Callable[[Task], None]


def allow_connections() -> None:
    """Raise the limit of open files, of this process and its children, as far as needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = min(MAX_CONNECTIONS + FILES_BESIDES, hard if hard != resource.RLIM_INFINITY else 1 << 20)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _most_connections() -> int:
    """Return how many connections this process may have: no more than its limit of open files leaves."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft - FILES_BESIDES)


# It warns of each request that waits for a thread.
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
        if self.request.command == "HEAD":  # no chunk follows, nor the empty one that ends them
            self.chunked_response = False
        return head


class _LoggedErrorTask(ErrorTask):  # type: ignore[misc]  # as above
    """Refuses what is no request, and writes the line in the access log."""

    def service(self) -> None:
        super().service()
        self.channel.server.log_access(self)


class HttpConnection(HTTPChannel):  # type: ignore[misc]  # as above
    """A connection, and since when a request is being received on it."""

    task_class = _LoggedTask
    error_task_class = _LoggedErrorTask
    began = 0.0
    """When the first byte of the unfinished request came, in seconds of the monotonic clock."""

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
        """Whether the head of a request has begun to come and has not ended."""
        return self.request is not None and not self.request.headers_finished

    def lasts_too_long(self, *, now: float) -> bool:
        """Return whether a request is received too slowly, at `now` of the monotonic clock."""
        if self.requests:  # while one runs, the next is not read
            self.began = now
        limit = HEAD_SECONDS if self.is_in_head else REQUEST_SECONDS
        return self.request is not None and now - self.began > limit

    def is_stuck(self, *, cutoff: float) -> bool:
        """Return whether the client has taken nothing of what waits for it since `cutoff`, in Unix time."""
        if not self.outbuf_lock.acquire(blocking=False):  # just being written to
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
        self._leaves_since = 0.0  # since when new connections have been left to other processes
        self._left_at = 0.0  # when one was left last
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
                cleanup_interval=LOOK_SECONDS,
                clear_untrusted_proxy_headers=False,  # settings decide what is read of them
                log_socket_errors=False,  # clients come and go
            ),
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
            bind_socket=False,
        )
        self.accepting = True

    def poll(self, *, seconds: float) -> None:
        """Read, write and accept what is there; wait for it for so many seconds."""
        waits = YIELD_STEP_SECONDS if self._has_just_left_one else seconds
        wasyncore.loop(timeout=waits, use_poll=True, map=self._map, count=1)
        if not self.stopping:
            self._write_count()

    def readable(self) -> bool:
        """Return whether to look for a new connection."""
        return bool(super().readable()) and not self._has_just_left_one

    def handle_accept(self) -> None:
        """Accept connections, unless a process that has fewer may take them: then once that has had time."""
        if self._is_ahead and self._may_leave_one(now=time.monotonic()):
            return
        self._left_at = self._leaves_since = 0.0
        for _ in range(ACCEPTED_AT_ONCE):
            if not self._accept() or self._is_ahead:
                break
        self._write_count()

    def maintenance(self, now: float) -> None:
        """Close what has lasted for too long, at `now` in Unix time."""
        super().maintenance(now)
        clock = time.monotonic() + (now - time.time())
        for one in list(self.active_channels.values()):
            if one.lasts_too_long(now=clock) or one.is_stuck(cutoff=now - IDLE_SECONDS):
                one.will_close = True
                one.handle_close()  # at once: what takes nothing never becomes writable, to be closed then

    def stop_accepting(self) -> None:
        """Accept what waits, and no more. Answers end their connections from now on."""
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
        """Whether another process has fewer connections; of many, an eighth fewer."""
        least = self.counts.least(now=time.monotonic())
        return least is not None and len(self.active_channels) > least + least // 8

    def _may_leave_one(self, *, now: float) -> bool:
        """Note that a connection is left to other processes; return False once one has been for too long."""
        if now - self._left_at > YIELD_SECONDS:  # the last that was left has been taken: this is another
            self._leaves_since = now
        self._left_at = now
        return now - self._leaves_since < YIELD_SECONDS

    @property
    def _has_just_left_one(self) -> bool:
        return time.monotonic() - self._left_at < YIELD_STEP_SECONDS

    def _write_count(self) -> None:
        self.counts.write(self.number, len(self.active_channels), now=time.monotonic())


class HttpWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """Serves requests in a process of gunicorn's, from after its fork until SIGTERM."""

    server: HttpServer | None = None
    counts: ConnectionCounts
    number: int

    def run(self) -> None:
        """Serve until stopped; then finish what runs or is being sent."""
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
            if took > LINGER_SECONDS:  # no request can be on its way any more
                server.end_idle()
            server.poll(seconds=0.1)
        server.end()

    def handle_exit(self, sig: int, frame: object) -> None:
        """Stop, as SIGTERM asks."""
        self.alive = False
        if self.server:
            self.server.pull_trigger()  # wakes the loop, which a signal does not

    def handle_quit(self, sig: int, frame: object) -> None:
        """Stop, as Ctrl-C asks: in the same way."""
        self.handle_exit(sig, frame)

    def _log_access(self, task: Task) -> None:
        """Write the line of a request, without what it searched for."""
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
