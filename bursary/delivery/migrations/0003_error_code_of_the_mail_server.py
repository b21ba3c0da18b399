from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("delivery", "0002_rate_of_mails")]

    operations = [migrations.RenameField("mailserver", "cause", "error_code")]
