from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("replica", "0003_courses_by_key_and_runs_in_catalogs")]

    operations = [
        migrations.RemoveField("contentmetadata", "parent"),
        migrations.RemoveField("catalogmembership", "digest"),
    ]
