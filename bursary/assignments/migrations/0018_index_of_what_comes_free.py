from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('assignments', '0017_trigrams_for_searches'),
    ]

    # The removal comes first, as in 0015: it needs the table alone.
    operations = [
        migrations.RemoveIndex(
            model_name='learnercontentassignment',
            name='assignment_to_expire',
        ),
        migrations.AddIndex(
            model_name='learnercontentassignment',
            index=models.Index(fields=['budget', 'state', 'expires_at', 'id', 'price_cents'], name='assignment_to_expire'),
        ),
    ]
