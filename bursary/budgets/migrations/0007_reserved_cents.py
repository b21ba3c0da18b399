from django.db import migrations, models
from django.db.models import Q

RESERVED = "reserved_cents"


def renamed(model):
    """Return the state's operations for one model; the constraint keeps its name, the field its column."""
    name = f"{model}_held_not_negative"
    field = models.PositiveBigIntegerField(db_column="held_cents", default=0, editable=False)
    return [
        migrations.RemoveConstraint(model, name),  # Django does not rename fields in a constraint's state
        migrations.RenameField(model, "held_cents", RESERVED),
        migrations.AlterField(model, RESERVED, field),
        migrations.AddConstraint(model, models.CheckConstraint(name=name, condition=Q(reserved_cents__gte=0))),
    ]


class Migration(migrations.Migration):
    """Rename the field, not the column: processes of the release before read it during an upgrade."""

    dependencies = [("budgets", "0006_texts_that_stand_alone")]

    operations = [
        migrations.SeparateDatabaseAndState(state_operations=[*renamed("account"), *renamed("budget")]),
    ]
