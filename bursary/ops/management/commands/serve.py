"""`bursary serve`: the web server, with the runner and the scheduler in its processes."""

from importlib.metadata import version
from typing import Any

from django.core.management.base import CommandError, CommandParser

from bursary.ops import serving
from bursary.ops.console import OperatorCommand, positive_number


class Command(OperatorCommand):
    help = "Serve over HTTP, and deliver due work in the same processes. Stop it with Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--bind",
            default="",
            metavar="HOST:PORT",
            help="Where to listen; by default on this machine at $PORT, or 8000.",
        )
        parser.add_argument(
            "--workers",
            type=positive_number,
            default=0,
            metavar="N",
            help="The number of processes; by default 1 on SQLite, else 2.",
        )
        parser.add_argument("--access-log", action="store_true", help="Write a line for each request.")

    def run(self, *, bind: str, workers: int, access_log: bool, **_options: Any) -> None:
        try:
            listener = serving.listen(bind or serving.default_bind())
        except serving.NotAnAddress as why:
            raise CommandError(str(why), returncode=2) from why
        except serving.CannotListen as why:
            raise CommandError(str(why)) from why
        address = serving.address_of(listener)
        self.stdout.write(f"Bursary {version('bursary')} serves at {address} Stop with Ctrl-C.")
        self.stdout.flush()
        serving.serve(listener, workers=workers, access_log=access_log)
