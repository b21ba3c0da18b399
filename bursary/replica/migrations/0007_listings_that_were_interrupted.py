from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('replica', '0006_move_links_to_their_catalogs'),
    ]

    operations = [
        migrations.AddField(
            model_name='cataloglisting',
            name='begun_at',
            field=models.DateTimeField(blank=True, help_text='Of the listing that is being read, or was interrupted', null=True),
        ),
    ]
