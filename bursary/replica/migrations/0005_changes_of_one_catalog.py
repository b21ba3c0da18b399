"""Gives changes of membership the catalog that they concern alone. The change of the model alters no table."""

from typing import Any

from django.db import migrations, models

PAGE = 1000


def forwards(apps: Any, _schema_editor: Any) -> None:
    changes = apps.get_model("replica", "ContentChange").objects
    rows = changes.filter(field="membership").order_by("pk").values_list("pk", "old", "new")
    after = 0
    while page := list(rows.filter(pk__gt=after)[:PAGE]):
        catalogs = {pk: old or new for pk, old, new in page}
        for catalog in set(catalogs.values()):
            found = [pk for pk, its in catalogs.items() if its == catalog]
            changes.filter(pk__in=found).update(catalog_uuid=catalog)
        after = page[-1][0]


def backwards(apps: Any, _schema_editor: Any) -> None:
    apps.get_model("replica", "ContentChange").objects.filter(field="membership").update(catalog_uuid=None)


class Migration(migrations.Migration):
    dependencies = [("replica", "0004_courses_by_key_alone")]

    operations = [
        migrations.AlterField(
            "contentchange",
            "catalog_uuid",
            models.UUIDField(
                blank=True, help_text="The catalog that it concerns alone; empty: all that hold it", null=True
            ),
        ),
        migrations.RunPython(forwards, backwards),
    ]
