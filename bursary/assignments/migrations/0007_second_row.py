"""The column `twin` becomes `second_row`: the database renames it in its unique index, too."""

from django.db import migrations, models

RENAME = migrations.RenameField(model_name='learnercontentassignment', old_name='twin', new_name='second_row')


class Migration(migrations.Migration):

    dependencies = [
        ('assignments', '0006_run_of_a_redemption'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[RENAME],
            # Django does not rename fields in a constraint's state.
            state_operations=[
                migrations.RemoveConstraint(
                    model_name='learnercontentassignment',
                    name='one_assignment_for_a_mailbox',
                ),
                RENAME,
                migrations.AddConstraint(
                    model_name='learnercontentassignment',
                    constraint=models.UniqueConstraint(fields=('budget', 'mailbox_key', 'content_key', 'second_row'), name='one_assignment_for_a_mailbox'),
                ),
            ],
        ),
        migrations.AlterField(
            model_name='learnercontentassignment',
            name='second_row',
            field=models.PositiveBigIntegerField(db_default=0, default=0, editable=False, help_text="0; its own pk where it is the learner's second row of the same content in the budget"),
        ),
    ]
