"""`bursary remind_assignments`: request the reminders that are due by the budgets' settings."""

from bursary.ops.sweep_commands import REMINDING, SweepCommand


class Command(SweepCommand):
    help = "Remind learners without an answer, on the days that their budget names."
    sweep = REMINDING
