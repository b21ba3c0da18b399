from django.db import migrations, models

LISTING, FIELD = "cataloglisting", "removals_allowed_until"


class Migration(migrations.Migration):
    """Rename the field, not the column: processes of the release before read it during an upgrade."""

    dependencies = [("replica", "0012_via_course")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameField(LISTING, "guard_off_until", FIELD),
                migrations.AlterField(
                    LISTING,
                    FIELD,
                    models.DateTimeField(
                        blank=True,
                        db_column="guard_off_until",
                        help_text="Until when an operator allows any number of removals; empty: never allowed",
                        null=True,
                    ),
                ),
            ],
        ),
    ]
