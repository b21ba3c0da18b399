from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('assignments', '0018_index_of_what_comes_free'),
    ]

    # The removal comes first, as in 0015: it needs the table alone.
    operations = [
        migrations.RemoveIndex(
            model_name='learnercontentassignment',
            name='assignment_by_price',
        ),
        migrations.AddIndex(
            model_name='learnercontentassignment',
            index=models.Index(fields=['budget', 'price_cents', 'id', 'allocated_at'], name='assignment_by_price'),
        ),
    ]
