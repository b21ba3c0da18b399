"""Finds the runs that a course's record names to a catalog without a look at the runs' own courses."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("replica", "0006_keys_of_courses_that_were_set_aside")]

    operations = [
        migrations.AddIndex(
            model_name="catalogmembership",
            index=models.Index(fields=["named_by", "catalog_uuid", "content"], name="content_named_by"),
        ),
    ]
