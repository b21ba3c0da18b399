from django.db import migrations, models

CONTENT, FIELD = "contentmetadata", "change_announced_at"


class Migration(migrations.Migration):
    """Rename the field, not the column: processes of the release before read it during an upgrade."""

    dependencies = [("replica", "0013_removals_allowed_until")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameField(CONTENT, "expected_since", FIELD),
                migrations.AlterField(
                    CONTENT,
                    FIELD,
                    models.DateTimeField(
                        blank=True,
                        db_column="expected_since",
                        help_text="When an event announced a change that upstream does not show yet; empty: none",
                        null=True,
                    ),
                ),
            ],
        ),
    ]
