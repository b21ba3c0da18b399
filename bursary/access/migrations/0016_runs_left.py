from django.db import migrations, models


class Migration(migrations.Migration):
    """Rename the field, not the column: processes of the release before read it during an upgrade."""

    dependencies = [("access", "0015_texts_that_stand_alone")]

    operations = [
        migrations.AlterField(
            "user",
            "looks_left",
            models.PositiveSmallIntegerField(
                db_column="looks_left", db_default=10, db_index=True, default=10, editable=False, null=True
            ),
        ),
        migrations.RenameField("user", "looks_left", "runs_left"),
    ]
