from collections.abc import Callable

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models.deletion import PROTECT

NOTICE = "administratornotice"
BEFORE, NOW = "deadline notice", "administrator notice"


def permissions(old: str, new: str) -> Callable[[Apps, BaseDatabaseSchemaEditor], None]:
    """Rename the permissions, which stay granted: Django renames the content type alone."""

    def rename(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
        ours = apps.get_model("contenttypes", "ContentType").objects.filter(app_label="assignments")
        types = list(ours.values_list("pk", flat=True))
        rows = apps.get_model("auth", "Permission").objects.filter(content_type_id__in=types)
        for action in ("add", "change", "delete", "view"):
            codename, renamed = (f"{action}_{words.replace(' ', '')}" for words in (old, new))
            rows.filter(codename=codename).update(codename=renamed, name=f"Can {action} {new}")

    return rename


class Migration(migrations.Migration):
    """Rename model and field, not table and column: processes of the release before use them in an upgrade."""

    dependencies = [
        ("assignments", "0022_duplicate_pk"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("budgets", "0006_texts_that_stand_alone"),
    ]

    operations = [
        migrations.AlterModelTable("deadlinenotice", "assignments_deadlinenotice"),
        migrations.RenameModel("DeadlineNotice", "AdministratorNotice"),
        migrations.RunPython(permissions(BEFORE, NOW), permissions(NOW, BEFORE)),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameField(NOTICE, "notified", "notified_contacts"),
                migrations.AlterField(
                    NOTICE,
                    "notified_contacts",
                    models.JSONField(db_column="notified", default=list, help_text="Of this edition"),
                ),
                migrations.AlterField(
                    NOTICE,
                    "budget",
                    models.ForeignKey(
                        on_delete=PROTECT, related_name="administrator_notices", to="budgets.budget"
                    ),
                ),
            ],
        ),
    ]
