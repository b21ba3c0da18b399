"""Each catalog gets the links that its record brought. Payloads keep theirs, for a release that reads them
there, until they are written next; they are not shown any more. The way back puts links into payloads again.
"""

from django.db import migrations, transaction
from django.db.models import Q

LINKS = ("enrollment_url", "marketing_url", "xapi_activity_id")
BATCH = 200


def fill(apps, schema_editor):
    for held, memberships, rows in _batches(apps, schema_editor, missing=True):
        said = {}
        for row in rows:
            links = {name: row.payload[name] for name in LINKS if name in row.payload}
            if links:
                said.setdefault(_where(row), {})[row.content_key] = links
        for one in memberships:
            one.links = said.get((one.content_id, str(one.catalog_uuid)), {})
        held.bulk_update([one for one in memberships if one.links], ["links"])


def put_back(apps, schema_editor):
    contents = apps.get_model("replica", "ContentMetadata").objects.using(schema_editor.connection.alias)
    for _held, memberships, rows in _batches(apps, schema_editor, missing=False):
        links = {(one.content_id, str(one.catalog_uuid)): one.links for one in memberships}
        changed = []
        for row in rows:
            said = links.get(_where(row), {})
            payload = row.payload | said.get(row.content_key, {})
            if isinstance(payload.get("course_runs"), list):
                payload["course_runs"] = [
                    run | said.get(str(run.get("key")), {}) if isinstance(run, dict) else run
                    for run in payload["course_runs"]
                ]
            if payload != row.payload:
                row.payload = payload
                changed.append(row)
        contents.bulk_update(changed, ["payload"])


def _where(row):
    """Return who holds a row, and in which catalog its record was read."""
    return row.parent_id or row.pk, row.fetched_from.rpartition(":")[2]


def _batches(apps, schema_editor, *, missing):
    """Yield memberships without links, or with, and the locked rows of their content and its runs."""
    alias = schema_editor.connection.alias
    held = apps.get_model("replica", "CatalogMembership").objects.using(alias)
    contents = apps.get_model("replica", "ContentMetadata").objects.using(alias)
    last = 0
    while pks := list(held.filter(pk__gt=last).order_by("pk").values_list("pk", "content")[:BATCH]):
        last = pks[-1][0]
        concerned = {content for _pk, content in pks}
        with transaction.atomic(using=alias):
            rows = contents.filter(Q(pk__in=concerned) | Q(parent__in=concerned)).order_by("content_key")
            rows = list(
                rows.select_for_update().only("content_key", "parent", "fetched_from", "payload")
            )
            memberships = held.filter(pk__in=[pk for pk, _content in pks])
            yield held, [one for one in memberships if bool(one.links) is not missing], rows


class Migration(migrations.Migration):

    atomic = False  # in batches, each in a transaction of its own: refreshing goes on meanwhile

    dependencies = [
        ('replica', '0005_links_of_each_catalog'),
    ]

    operations = [
        migrations.RunPython(fill, put_back),
    ]
