"""`bursary remind_assignments`: request the reminders that the budgets' tables ask for."""

from bursary.ops.sweep_commands import REMINDING, SweepCommand


class Command(SweepCommand):
    help = "Remind learners without an answer, on the days that their budget names."
    sweep = REMINDING
