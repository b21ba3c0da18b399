from django.db import migrations, models
from django.db.models import Q

NOTICE, CONSTRAINT = "administratornotice", "deadline_notice_has_grace_or_reason"


class Migration(migrations.Migration):
    """Rename a field, not its column: processes of the release before read it during an upgrade."""

    dependencies = [("assignments", "0023_administrator_notices")]

    operations = [
        migrations.SeparateDatabaseAndState(
            # Django does not rename fields in a constraint's state.
            state_operations=[
                migrations.AlterField(
                    "learnercontentassignment",
                    "grace_until",
                    models.DateTimeField(
                        blank=True,
                        help_text="Earliest expiry after a change brought the deadline near",
                        null=True,
                    ),
                ),
                migrations.RemoveConstraint(NOTICE, CONSTRAINT),
                migrations.RenameField(NOTICE, "grace_until", "no_expiry_before"),
                migrations.AlterField(
                    NOTICE,
                    "no_expiry_before",
                    models.DateTimeField(
                        blank=True,
                        db_column="grace_until",
                        help_text="Empty where there is a reason",
                        null=True,
                    ),
                ),
                migrations.AddConstraint(
                    NOTICE,
                    models.CheckConstraint(
                        name=CONSTRAINT,
                        condition=Q(reason="", no_expiry_before__isnull=False)
                        | (~Q(reason="") & Q(no_expiry_before=None)),
                    ),
                ),
            ],
        ),
    ]
