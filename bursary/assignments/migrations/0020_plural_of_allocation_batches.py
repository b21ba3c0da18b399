from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('assignments', '0019_index_of_sums_by_month'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='allocationbatch',
            options={'ordering': ('created', 'id'), 'verbose_name_plural': 'allocation batches'},
        ),
    ]
