"""`bursary skip_failed`: skip failed work that is not to be done any more."""

from bursary.ops.repair_commands import SkipCommand


class Command(SkipCommand):
    help = (
        "Skip failed mails and links for a --reason, of some causes or all; without --confirm, count them. "
        "--json names what is counted."
    )
