"""`bursary remind_assignments`: request the reminders that the budgets' tables ask for."""

from bursary.ops.sweep_commands import REMINDING, SweepCommand


class Command(SweepCommand):
    help = "Remind whoever has not answered, on the days that their budget says."
    sweep = REMINDING
