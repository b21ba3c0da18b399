"""Adds what a repetition of a record is recognised by. Empty: unknown, and the record is compared in full."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("replica", "0008_plain_help_texts")]

    operations = [
        migrations.AddField(
            model_name="contentmetadata",
            name="served_digest",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Of the whole record that the row was last merged from; empty: unknown",
                max_length=64,
            ),
        ),
        migrations.AddField(
            model_name="contentmetadata",
            name="served_digest_at",
            field=models.DateTimeField(
                blank=True,
                help_text="checked_at, as written with served_digest; else that is not believed",
                null=True,
            ),
        ),
    ]
