from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("delivery", "0001_mail_server")]

    operations = [
        migrations.CreateModel(
            name="SendingRate",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=16, unique=True)),
                ("free_at", models.DateTimeField()),
            ],
        ),
    ]
