from django.db import migrations, models
from django.db.models.deletion import PROTECT

NOTICE = "administratornotice"


class Migration(migrations.Migration):
    """Rename model and field, not table and column: processes of the release before use them in an upgrade."""

    dependencies = [("assignments", "0022_duplicate_pk"), ("budgets", "0006_texts_that_stand_alone")]

    operations = [
        migrations.AlterModelTable("deadlinenotice", "assignments_deadlinenotice"),
        migrations.RenameModel("DeadlineNotice", "AdministratorNotice"),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameField(NOTICE, "notified", "notified_contacts"),
                migrations.AlterField(
                    NOTICE,
                    "notified_contacts",
                    models.JSONField(db_column="notified", default=list, help_text="Of this edition"),
                ),
                migrations.AlterField(
                    NOTICE,
                    "budget",
                    models.ForeignKey(
                        on_delete=PROTECT, related_name="administrator_notices", to="budgets.budget"
                    ),
                ),
            ],
        ),
    ]
