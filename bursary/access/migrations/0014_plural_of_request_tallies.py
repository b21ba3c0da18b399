from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('access', '0013_sign_in_failures'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='requesttally',
            options={'verbose_name_plural': 'request tallies'},
        ),
    ]
