"""`bursary consume_events`: store the events of the Open edX event bus; runs under a supervisor."""

import threading
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from bursary.ops.console import OperatorCommand, counts_in_words
from bursary.ops.deliver import stop_on_signals


class Command(OperatorCommand):
    help = "Store the events of the Open edX event bus; a scheduled task applies them. Stop it with Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--once", action="store_true", help="Store the events that are there, then end.")
        parser.add_argument(
            "--consumer",
            default="",
            metavar="NAME",
            help="The name of another consumer, to store the events that it left behind.",
        )

    def run(self, *, once: bool, consumer: str, **_options: Any) -> None:
        if not settings.EVENT_BUS_URL:
            raise CommandError("Set BURSARY_EVENT_BUS_URL: there is no event bus to read.")
        bus = import_module("bursary.events.bus")  # only where the extra `openedx` is installed
        reader = bus.configured(name=consumer)
        stop = threading.Event()
        stop_on_signals(stop)
        try:
            reader.consume(stop, once=once)
        except bus.BusLost as lost:
            raise CommandError(f"The event bus was given up. {lost}") from lost
        words = counts_in_words(reader.counts, none="nothing came")
        self.answer(reader.counts, f"Stopped; {words}.")
