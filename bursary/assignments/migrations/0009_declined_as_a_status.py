"""What learners declined has a learner state of its own, as lists show it."""

from django.db import migrations, models
from django.db.models import Exists, OuterRef

_DECLINED, _NONE = 998, 999


def mark(apps, _editor):
    """Mark what was declined in its current cycle. One statement."""
    actions = apps.get_model('assignments', 'LearnerContentAssignmentAction').objects
    declined = actions.filter(assignment=OuterRef('pk'), cycle=OuterRef('cycle'), action_type='declined')
    assignments = apps.get_model('assignments', 'LearnerContentAssignment').objects
    assignments.filter(Exists(declined), state='cancelled').update(learner_state=_DECLINED)


def unmark(apps, _editor):
    """Give it the state again of what was cancelled."""
    assignments = apps.get_model('assignments', 'LearnerContentAssignment').objects
    assignments.filter(learner_state=_DECLINED, state='cancelled').update(learner_state=_NONE)


class Migration(migrations.Migration):

    dependencies = [
        ('assignments', '0008_extensions_and_allocation_batches'),
    ]

    operations = [
        migrations.AlterField(
            model_name='learnercontentassignment',
            name='learner_state',
            field=models.PositiveSmallIntegerField(choices=[(0, 'notifying'), (1, 'waiting'), (2, 'expired'), (3, 'failed'), (998, ''), (999, '')]),
        ),
        migrations.RunPython(mark, unmark),
    ]
