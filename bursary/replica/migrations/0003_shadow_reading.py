import django.core.serializers.json
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('replica', '0002_refreshing_claims_listings_and_keys_sought'),
    ]

    operations = [
        migrations.CreateModel(
            name='ShadowTally',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('catalog_uuid', models.UUIDField(unique=True)),
                ('since', models.DateTimeField()),
                ('last_at', models.DateTimeField()),
                ('compared', models.PositiveBigIntegerField(default=0, help_text='Answers of upstream')),
                ('fields_compared', models.PositiveBigIntegerField(default=0)),
                ('different', models.PositiveBigIntegerField(default=0, help_text='Fields that differed, each time counted')),
                ('incomparable', models.PositiveBigIntegerField(default=0, help_text='Answers that say less than our row, and so nothing of it')),
                ('unrecorded', models.PositiveBigIntegerField(default=0, help_text='Differences for which there was no room')),
            ],
            options={
                'verbose_name_plural': 'shadow tallies',
                'ordering': ('catalog_uuid',),
            },
        ),
        migrations.CreateModel(
            name='ShadowDifference',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('catalog_uuid', models.UUIDField()),
                ('content_key', models.CharField(max_length=255)),
                ('field', models.CharField(max_length=32)),
                ('upstream_value', models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder, null=True)),
                ('replica_value', models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder, null=True)),
                ('first_seen', models.DateTimeField()),
                ('last_seen', models.DateTimeField()),
                ('times', models.PositiveIntegerField(default=1, help_text='Comparisons that found it')),
                ('healed_at', models.DateTimeField(blank=True, help_text='When they were found to agree again', null=True)),
            ],
            options={
                'ordering': ('catalog_uuid', 'content_key', 'field'),
                'constraints': [models.UniqueConstraint(fields=('catalog_uuid', 'content_key', 'field'), name='shadow_difference_once')],
            },
        ),
    ]
