"""Backwards, deletes notices of content that cannot be joined: the tables before have no place for them."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def delete_notices_with_a_reason(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("assignments", "DeadlineNotice").objects.exclude(reason="").delete()


class Migration(migrations.Migration):
    dependencies = [("assignments", "0003_notices_of_content_that_cannot_be_joined")]

    operations = [migrations.RunPython(migrations.RunPython.noop, delete_notices_with_a_reason)]
