from django.db import migrations, models

READ, FIELD = "coldread", "status"


class Migration(migrations.Migration):
    """Rename the field, not the column: processes of the release before read it during an upgrade."""

    dependencies = [("replica", "0015_trigger")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameField(READ, "answer", FIELD),
                migrations.AlterField(
                    READ,
                    FIELD,
                    models.CharField(
                        choices=[("asking", "Asking"), ("absent", "Absent"), ("silent", "Silent")],
                        db_column="answer",
                        max_length=8,
                    ),
                ),
            ],
        ),
    ]
