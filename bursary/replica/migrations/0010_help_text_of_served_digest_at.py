"""Says when the digest of a record as served is compared. Changes no table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("replica", "0009_digest_of_the_record_as_served")]

    operations = [
        migrations.AlterField(
            model_name="contentmetadata",
            name="served_digest_at",
            field=models.DateTimeField(
                blank=True,
                help_text="checked_at, as written with served_digest; once it differs, the digest is not used",
                null=True,
            ),
        ),
    ]
