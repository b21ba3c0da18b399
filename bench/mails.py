"""Mails a second with two processes, and claiming and settling, against SQL and SMTP written by hand.

Usage: `python -m bench.mails [--mails 1200] [--rounds 3] [--processes 2] [--threads N]`. A PostgreSQL of its
own is started in a temporary folder, and a mail server on loopback, which takes each mail after a delay. Both
sides send the same number of mails by the same number of threads, in turn. A case is one JSON line: medians,
and how many times as long ours takes. Ends with 1 where a case misses its target by half.

The floor claims twenty rows by one statement, sends a mail that was rendered before by a kept connection, and
writes in one transaction a mail what ours writes: that it begins, how it went, and its assignment's state.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import django

from bench import stage


def main() -> int:
    """Start a server, and measure in a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mails", type=int, default=1200)
    parser.add_argument(
        "--threads", type=int, default=0, help="of each process; else 4, or 16 for a slow server"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        django.setup()
        from bench import mails_cases  # noqa: PLC0415  # models, which need the settings

        return mails_cases.measure(chosen)
    with tempfile.TemporaryDirectory() as folder, stage.postgres(Path(folder)) as server:
        environment = os.environ | stage.environment(Path(folder), url=server.database("bench"))
        migrate = [sys.executable, "-m", "bursary.config.cli", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, env=environment, check=True)
        again = [sys.executable, "-m", "bench.mails", *sys.argv[1:], "--measure"]
        return subprocess.run(again, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
