from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('assignments', '0005_indexes_by_course'),
    ]

    operations = [
        migrations.AddField(
            model_name='learnercontentassignmentaction',
            name='content_run_key',
            field=models.CharField(blank=True, db_default='', default='', help_text='The run of the assigned course that a redemption is for; empty: the assigned content', max_length=255),
        ),
    ]
