"""The web server, with the runner and scheduler threads in each of its processes."""

import gc
import os
import signal
import socket
import time
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection, connections
from django.utils import timezone
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]  # gunicorn has no types
from gunicorn.config import Config  # type: ignore[import-untyped]  # gunicorn has no types
from gunicorn.glogging import Logger  # type: ignore[import-untyped]  # gunicorn has no types

from bursary.delivery import executors
from bursary.lib.logs import Formatter
from bursary.lib.numbers import from_digits
from bursary.lib.threads import PollingThread
from bursary.ops import scheduler
from bursary.ops.connection_counts import ConnectionCounts
from bursary.ops.http_worker import DRAIN_SECONDS, HttpWorker, allow_connections

HOST = "127.0.0.1"
LOCAL_HOSTS = (HOST, "::1", "localhost")
DEFAULT_PORT = "8000"
BACKLOG = 256  # connections that wait to be accepted
HTTP_THREADS = 8
SCHEDULER_THREADS = 3  # so that other tasks do not wait for two long ones, such as `refresh` and `listing`
PROCESSES_WITH_A_SERVER = 2
NEW_OBJECTS_PER_COLLECTION = 10_000  # Python's default, 700, is reached by one page of a list
MORE_PROCESSES = 64  # processes that signals to gunicorn may add


class CannotListen(Exception):
    """The address cannot be served; the message has the reason and the next step."""


class NotAnAddress(CannotListen):
    """The text is not HOST:PORT."""


def default_bind() -> str:
    """Return the default address: loopback, on $PORT."""
    return f"{HOST}:{os.environ.get('PORT') or DEFAULT_PORT}"


def is_address_given() -> bool:
    """Return whether the environment names the port or the public address."""
    return any(os.environ.get(name) for name in ("PORT", "BURSARY_BASE_URL"))


def listen(bind: str) -> socket.socket:
    """Listen on `HOST:PORT`; return the socket. Raises CannotListen, or its subclass NotAnAddress."""
    host, _, port = bind.rpartition(":")
    if not host or (number := from_digits(port, max_digits=5)) is None or number > 65535:
        raise NotAnAddress(f"An address to serve is HOST:PORT, such as {HOST}:{DEFAULT_PORT}, not {bind!r}.")
    host = host.strip("[]")
    if settings.DEBUG and host not in LOCAL_HOSTS:
        raise CannotListen(
            f"BURSARY_DEBUG is on: {bind} would show personal data and settings to strangers. Leave it out, "
            f"or serve on {HOST}."
        )
    try:
        family = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise CannotListen(f"Cannot serve on {bind}: {error.strerror}.") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotListen(
            f"Cannot serve on {bind}: {error.strerror}. Stop what uses it, or choose another port: PORT=8001."
        ) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def serve(listener: socket.socket, *, workers: int = 0, access_log: bool = False) -> None:
    """Serve until interrupted or terminated; then finish running requests and mails. Never returns.

    Without `workers`, there is one process on SQLite, which has one writer at a time, and two on a database
    server.
    """
    workers = workers or (1 if connection.vendor == "sqlite" else PROCESSES_WITH_A_SERVER)
    if settings.CLOCK == "celery":
        scheduler.prepare(
            now=timezone.now()
        )  # if no beat runs, its tasks are soon late, and health reports it
    load()
    allow_connections()
    # A connection must not be shared with the processes that are forked from this one.
    connections.close_all()
    _Server(listener, workers, access_log=access_log).run()


def load() -> None:
    """Load the pages and the API, once for all processes, and exclude them from garbage collection.

    They never become garbage, and examining them takes a tenth of a second, several times in a request that
    makes thousands of objects. Collections are made rarer as well, as most of these objects stay in use.
    """
    import_module(settings.ROOT_URLCONF)
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS_PER_COLLECTION)


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn, configured only here, not by a file or the environment."""

    def __init__(self, listener: socket.socket, workers: int, *, access_log: bool) -> None:
        self._workers, self._access_log = workers, access_log
        self._socket = listener.detach()  # gunicorn's from now on, and the same after a reload
        super().__init__()

    def load_config(self) -> None:
        runners = _Runners()
        counts = ConnectionCounts(self._workers + MORE_PROCESSES)

        def before_fork(_server: object, worker: HttpWorker) -> None:
            worker.counts, worker.number = counts, counts.open()

        def after_end(_server: object, worker: HttpWorker) -> None:
            counts.close(worker.number)

        chosen: dict[str, Any] = {
            "bind": f"fd://{self._socket}",
            "worker_class": HttpWorker,
            "workers": self._workers,
            "threads": HTTP_THREADS,
            # Time for requests and mails that are in progress when the server is stopped.
            "graceful_timeout": DRAIN_SECONDS + int(settings.SEND_DEADLINE.total_seconds()),
            "loglevel": "warning",
            "umask": 0o077,  # gunicorn's own default would make mails readable by every user
            "logger_class": _Log,
            "accesslog": "-" if self._access_log else None,
            "control_socket_disable": True,
            "pre_fork": before_fork,
            "child_exit": after_end,
            "post_worker_init": runners.start,
            "worker_int": runners.interrupt,
            "worker_exit": runners.stop,
        }
        for name, value in chosen.items():
            self.cfg.set(name, value)

    def load(self) -> WSGIHandler:
        return WSGIHandler()


class _Log(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn's logs, without the tokens of signed links."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        for handler in (*self.error_log.handlers, *self.access_log.handlers):
            handler.setFormatter(Formatter(handler.formatter._fmt, handler.formatter.datefmt))


class _Runners:
    """The runner and scheduler threads of one process: started after the fork, stopped before its end."""

    def __init__(self) -> None:
        self._threads: list[PollingThread] = []

    def start(self, _worker: object) -> None:
        self._threads = [
            *executors.start_threads(settings.RUNNER_THREADS),
            *scheduler.start_threads(SCHEDULER_THREADS),
        ]

    def interrupt(self, _worker: object) -> None:
        """Stop the threads, and ignore further signals, which would interrupt a mail that is being sent."""
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for thread in self._threads:
            thread.stop()

    def stop(self, _server: object, worker: object) -> None:
        """Wait until the threads have finished the mails that they are sending."""
        if not self._threads:  # gunicorn's main process has none
            return
        self.interrupt(worker)
        until = time.monotonic() + settings.SEND_DEADLINE.total_seconds()
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
