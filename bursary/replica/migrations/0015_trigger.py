from django.db import migrations, models

TRIGGERS = [("event", "Event"), ("cron", "Cron"), ("read", "Read")]


def renamed(model: str, **more: str) -> list[migrations.operations.base.Operation]:
    """Rename the field, not the column: processes of the release before read it during an upgrade."""
    field = models.CharField(choices=TRIGGERS, db_column="source", max_length=8, **more)
    return [
        migrations.RenameField(model, "source", "trigger"),
        migrations.AlterField(model, "trigger", field),
    ]


class Migration(migrations.Migration):
    """Give what caused a fetch the name of its values, `RefreshTrigger`."""

    dependencies = [("replica", "0014_change_announced_at")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                *renamed("contentmetadata", help_text="What caused the last fetch"),
                *renamed("contentchange"),
            ],
        ),
    ]
