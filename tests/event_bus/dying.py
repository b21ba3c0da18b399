"""`bursary consume_events`, killed while it keeps an event: `dying.py before:2 after:3` runs it twice.

`after` dies between the row and the acknowledgement, `before` before either; each at its n-th event. They
are forks, so that Django is loaded once. Says which signal ended each.
"""

import os
import signal
import sys
from typing import Any

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "bursary.config.settings"
django.setup()

from bursary.config import cli  # noqa: E402  # after the settings
from bursary.events import bus, inbox  # noqa: E402, F401  # likewise; the bus so that forks have it


def consume_until(moment: str, number: int) -> None:
    """Run the command, and die."""
    receive = inbox.receive
    kept: list[object] = []

    def deadly(*args: Any, **more: Any) -> bool:
        kept.append(args)
        if len(kept) == number and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        new = receive(*args, **more)
        if len(kept) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return new

    inbox.receive = deadly
    sys.argv = ["bursary", "consume_events"]
    cli.main()


if __name__ == "__main__":
    for planned, _, at in (plan.partition(":") for plan in sys.argv[1:]):
        child = os.fork()
        if not child:
            consume_until(planned, int(at))
        status = os.waitpid(child, 0)[1]
        sys.stdout.write(f"{os.WTERMSIG(status)}\n")
        sys.stdout.flush()
