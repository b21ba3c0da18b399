from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("replica", "0001_content_replica")]

    operations = [
        migrations.AddField(
            "contentmetadata",
            "variant",
            models.CharField(
                blank=True,
                default="",
                help_text="Digest of the restricted runs that the course's record names; empty: none",
                max_length=64,
            ),
        ),
        migrations.AddField(
            "contentmetadata",
            "parent_key",
            models.CharField(
                blank=True,
                db_index=True,
                default="",
                help_text="The content key of a run's course",
                max_length=255,
            ),
        ),
        migrations.AddField(
            "contentmetadata",
            "offered",
            models.BooleanField(
                default=False, help_text="Of a run: published and marketable, or marketable outside"
            ),
        ),
        migrations.AddField(
            "contentmetadata",
            "enrollable",
            models.BooleanField(default=False, help_text="Of a run: upstream's flag at its last sync"),
        ),
        migrations.AlterField("contentmetadata", "content_key", models.CharField(max_length=255)),
        migrations.AlterField(
            "contentmetadata", "uuid", models.UUIDField(blank=True, db_index=True, null=True)
        ),
        migrations.AddConstraint(
            "contentmetadata",
            models.UniqueConstraint(fields=("content_key", "variant"), name="content_once_a_variant"),
        ),
        migrations.AlterModelOptions(
            "contentmetadata",
            {"ordering": ("content_key", "variant"), "verbose_name_plural": "content metadata"},
        ),
        migrations.AddField(
            "catalogmembership",
            "named_by",
            models.CharField(
                blank=True,
                default="",
                help_text="Key of the course whose full record names the run; "
                "empty: the catalog lists it itself",
                max_length=255,
            ),
        ),
        migrations.AlterField(
            "catalogmembership",
            "links",
            models.JSONField(db_default={}, default=dict, help_text="The catalog's own, for this content"),
        ),
        migrations.AddField(
            "contentchange",
            "catalog_uuid",
            models.UUIDField(
                blank=True,
                help_text="The catalog that is served another variant; empty: all that hold it",
                null=True,
            ),
        ),
        migrations.AddField(
            "cataloglisting",
            "contradictions",
            models.PositiveBigIntegerField(
                default=0,
                help_text="Records that differed from another catalog's of the same variant and time stamp",
            ),
        ),
        migrations.AlterField(
            "cataloglisting",
            "listed",
            models.PositiveIntegerField(default=0, help_text="Entries of the last accepted listing"),
        ),
        migrations.CreateModel(
            "FormerContentKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("former_key", models.CharField(max_length=255, unique=True)),
                ("content_key", models.CharField(db_index=True, max_length=255)),
            ],
            options={"ordering": ("former_key",)},
        ),
    ]
