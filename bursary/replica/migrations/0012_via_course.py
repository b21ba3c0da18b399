from django.db import migrations, models

MEMBERSHIP = "catalogmembership"


class Migration(migrations.Migration):
    """Rename the field, not the column: processes of the release before read it during an upgrade."""

    dependencies = [("replica", "0011_texts_that_stand_alone")]

    operations = [
        migrations.SeparateDatabaseAndState(
            # Django does not rename fields in an index's state.
            state_operations=[
                migrations.RemoveIndex(MEMBERSHIP, "content_named_by"),
                migrations.RenameField(MEMBERSHIP, "named_by", "via_course"),
                migrations.AlterField(
                    MEMBERSHIP,
                    "via_course",
                    models.CharField(
                        blank=True,
                        db_column="named_by",
                        default="",
                        help_text="Key of the course with the full record that names the run; empty: the catalog lists it",
                        max_length=255,
                    ),
                ),
                migrations.AddIndex(
                    MEMBERSHIP,
                    models.Index(fields=["via_course", "catalog_uuid", "content"], name="content_named_by"),
                ),
            ],
        ),
    ]
