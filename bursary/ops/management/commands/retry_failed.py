"""`bursary retry_failed`: retry failed work."""

from bursary.ops.repair_commands import RetryCommand


class Command(RetryCommand):
    help = (
        "Retry failed mails and links, of some causes or all; without --confirm, count them. "
        "--json names what is counted."
    )
