"""On PostgreSQL, an index of the trigrams in titles and addresses, for searches (decision 0030).

No other engine has one. Where the role may not make the extension, or the server does not have it, searches stay
as they were: `bursary check --database default` says so, and how it is made afterwards. The code before and after
asks the same of the table. The table can be written while the index is built.
"""

from django.db import Error, migrations, transaction

INDEX = 'assignment_trigrams'
REFUSED = {
    '42501',  # insufficient_privilege
    '0A000',  # feature_not_supported: the server does not have the extension's files
    '58P01',  # undefined_file: likewise, up to PostgreSQL 15
}


def add(apps, editor):
    """Make the extension and the index, if that is possible."""
    connection = editor.connection
    if connection.vendor != 'postgresql' or not _make_extension(connection):
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
            " WHERE e.extname = 'pg_trgm'"
        )
        [[schema]] = cursor.fetchall()
        cursor.execute('SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid', [INDEX])
        if cursor.fetchone():  # of an attempt that was broken off
            cursor.execute(f'DROP INDEX {INDEX}')
        cursor.execute(
            f'CREATE INDEX {_concurrently(connection)} IF NOT EXISTS {INDEX}'
            f' ON assignments_learnercontentassignment USING gin'
            f' (content_title {schema}.gin_trgm_ops, upper(learner_email::text) {schema}.gin_trgm_ops)'
        )


def remove(apps, editor):
    """Remove the index. The extension stays: others may use it."""
    if editor.connection.vendor == 'postgresql':
        with editor.connection.cursor() as cursor:
            cursor.execute(f'DROP INDEX {_concurrently(editor.connection)} IF EXISTS {INDEX}')


def _make_extension(connection):
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute('CREATE EXTENSION IF NOT EXISTS pg_trgm')
    except Error as refused:
        if getattr(refused.__cause__, 'sqlstate', None) not in REFUSED:
            raise
        return False
    return True


def _concurrently(connection):
    """Return how an index is made without a lock against writing, which no transaction can contain."""
    return '' if connection.in_atomic_block else 'CONCURRENTLY'


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('assignments', '0016_what_mail_providers_report'),
    ]

    operations = [migrations.RunPython(add, remove)]
