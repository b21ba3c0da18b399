"""`bursary nudge_assignments`: request the nudges that are due by the budgets' settings."""

from bursary.ops.sweep_commands import NUDGING, SweepCommand


class Command(SweepCommand):
    help = "Mail learners that their course starts soon, on the days that their budget names."
    sweep = NUDGING
