"""`bursary consume_events`, killed while it keeps its n-th event: `dying.py before|after N`.

`after` dies between the row and the acknowledgement, `before` before either.
"""

import os
import signal
import sys
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "bursary.config.settings"
django.setup()

from bursary.config import cli  # noqa: E402  # after the settings
from bursary.events import inbox  # noqa: E402  # likewise

MOMENT, NUMBER = sys.argv[1], int(sys.argv[2])

receive = inbox.receive
kept: list[object] = []


def deadly(*args: Any, **more: Any) -> bool:
    """Keep the event, or not, and die where it is the one."""
    kept.append(args)
    last = len(kept) == NUMBER
    if last and MOMENT == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    new = receive(*args, **more)
    if last:
        os.kill(os.getpid(), signal.SIGKILL)
    return new


if __name__ == "__main__":
    inbox.receive = deadly
    sys.argv = ["bursary", "consume_events"]
    cli.main()
