"""`bursary expire_assignments`: expire open assignments that are past their deadline."""

from bursary.ops.sweep_commands import EXPIRING, SweepCommand


class Command(SweepCommand):
    help = "Expire every open assignment that is past its deadline; its money is free again."
    sweep = EXPIRING
