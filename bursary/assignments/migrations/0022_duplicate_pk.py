from django.db import migrations, models

ASSIGNMENT = "learnercontentassignment"


class Migration(migrations.Migration):
    """Rename the field, not the column: processes of the release before read it during an upgrade."""

    dependencies = [("assignments", "0021_texts_that_stand_alone")]

    operations = [
        migrations.SeparateDatabaseAndState(
            # Django does not rename fields in a constraint's state.
            state_operations=[
                migrations.RemoveConstraint(ASSIGNMENT, "one_assignment_for_a_mailbox"),
                migrations.RenameField(ASSIGNMENT, "second_row", "duplicate_pk"),
                migrations.AlterField(
                    ASSIGNMENT,
                    "duplicate_pk",
                    models.PositiveBigIntegerField(
                        db_column="second_row",
                        db_default=0,
                        default=0,
                        editable=False,
                        help_text="0, or the row's own pk if the learner has another row of the content in the budget",
                    ),
                ),
                migrations.AddConstraint(
                    ASSIGNMENT,
                    models.UniqueConstraint(
                        fields=["budget", "mailbox_key", "content_key", "duplicate_pk"],
                        name="one_assignment_for_a_mailbox",
                    ),
                ),
            ],
        ),
    ]
