from django.db import migrations


class Migration(migrations.Migration):
    """Rename the field, not the column: processes of the release before read it during an upgrade."""

    dependencies = [("access", "0016_runs_left")]

    operations = [migrations.RenameField("user", "runs_left", "linking_passes_left")]
