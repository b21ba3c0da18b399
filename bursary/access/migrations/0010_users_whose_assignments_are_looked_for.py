from django.db import migrations, models


class Migration(migrations.Migration):
    """Mark users that register or change from now on. The database marks rows of an older release as well.

    Existing users are not marked, because the daily task `link` reads all users.
    """

    dependencies = [("access", "0009_scopes_of_keys")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="looks_left",
            field=models.PositiveSmallIntegerField(db_index=True, editable=False, null=True),
        ),
        migrations.AlterField(
            model_name="user",
            name="looks_left",
            field=models.PositiveSmallIntegerField(
                db_default=10, db_index=True, default=10, editable=False, null=True
            ),
        ),
    ]
