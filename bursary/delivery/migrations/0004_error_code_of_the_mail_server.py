from django.db import migrations, models


class Migration(migrations.Migration):
    """Rename the field, not the column: processes of the release before read it during an upgrade."""

    dependencies = [("delivery", "0003_texts_that_stand_alone")]

    operations = [
        migrations.AlterField(
            "mailserver", "cause", models.CharField(blank=True, db_column="cause", max_length=64)
        ),
        migrations.RenameField("mailserver", "cause", "error_code"),
    ]
