"""Python in a process of its own that is forked from one in which the libraries are loaded.

A start takes a third of the processor time of a new interpreter, of which most goes into imports. Nothing
that reads the settings is loaded before, and nothing of this service: each process has settings of its own.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.libraries"])


class Forked:
    """A process that was started, with what the tests use of `subprocess.Popen`.

    What it says goes to files, or its output to a pipe. It reads nothing, unless there is a pipe for that.
    """

    def __init__(
        self,
        *arguments: str,
        env: Mapping[str, str],
        folder: Path,
        out: Path | Connection,
        err: Path,
        read: Connection | None = None,
    ) -> None:
        for stream in (out, err):
            if isinstance(stream, Path):
                stream.write_bytes(b"")
        self._process = _CONTEXT.Process(
            target=_run, args=(arguments, dict(env), folder, (read, out, err)), daemon=True
        )
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return its status if it has ended: that of `Popen`, a signal's as a negative number."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; return its status."""
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return status

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def _run(
    arguments: tuple[str, ...],
    env: dict[str, str],
    folder: Path,
    streams: tuple[Connection | None, Path | Connection, Path],
) -> None:
    """Be what `python ARGUMENTS` is, in this process: `-m MODULE …` or `-c CODE …`."""
    for descriptor, stream in enumerate(streams):
        if stream:
            with stream.open("ab") if isinstance(stream, Path) else stream as opened:
                os.dup2(opened.fileno(), descriptor)
    sys.stdin = os.fdopen(0, closefd=False)  # multiprocessing gives each process another
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    kind, program, *rest = arguments
    sys.argv = [kind, *rest]
    if kind == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        assert kind == "-c"
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
