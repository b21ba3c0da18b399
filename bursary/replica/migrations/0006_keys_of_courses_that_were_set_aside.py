"""Gives courses their keys again that a return to the release before left as `KEY#VARIANT`."""

import hashlib
from typing import Any

from django.db import migrations
from django.utils import timezone

PAGE = 200


def forwards(apps: Any, _schema_editor: Any) -> None:
    contents = apps.get_model("replica", "ContentMetadata").objects
    rows = contents.filter(content_type="course", content_key__contains="#").order_by("pk")
    after, restored = 0, []
    while page := list(rows.filter(pk__gt=after).values_list("pk", "content_key", "payload")[:PAGE]):
        for pk, set_aside, payload in page:
            key, variant = str(payload.get("key")), _variant(payload)
            is_free = not contents.filter(content_key=key, variant=variant).exists()
            if variant and is_free and set_aside == f"{key[:238]}#{variant[:16]}":
                contents.filter(pk=pk).update(content_key=key, variant=variant)
                restored.append(pk)
        after = page[-1][0]
    # Which runs a catalog is served shows at its listing.
    for start in range(0, len(restored), PAGE):
        held = apps.get_model("replica", "CatalogMembership").objects.filter(
            content__in=restored[start : start + PAGE]
        )
        catalogs = set(held.order_by().values_list("catalog_uuid", flat=True))
        listings = apps.get_model("replica", "CatalogListing").objects.filter(catalog_uuid__in=catalogs)
        listings.update(due_at=timezone.now(), early=0)


def _variant(payload: dict[str, Any]) -> str:
    runs = [run for run in payload.get("course_runs") or [] if isinstance(run, dict)]
    restricted = sorted(str(run.get("key")) for run in runs if run.get("restriction_type"))
    return hashlib.sha256("\n".join(restricted).encode()).hexdigest() if restricted else ""


class Migration(migrations.Migration):
    dependencies = [("replica", "0005_changes_of_one_catalog")]

    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
