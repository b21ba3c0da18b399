"""Records that could not be used: their digests, and why, on the rows of the catalog that serves them."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from django.db.models import Case, F, Value, When

from bursary.lib.locks import for_update
from bursary.replica.models import CatalogMembership, ContentMetadata


def quarantined(keys: Iterable[str], *, catalog_uuid: UUID) -> dict[str, str]:
    """Return the digests, by key, of the catalog's records that could not be used when last fetched."""
    rows = ContentMetadata.objects.filter(
        content_key__in=list(keys), memberships__catalog_uuid=catalog_uuid
    ).exclude(quarantined_digest="")
    return dict(rows.order_by().values_list("content_key", "quarantined_digest"))


def quarantine(errors: Mapping[str, tuple[str, str]], *, catalog_uuid: UUID) -> None:
    """Write, on the catalog's rows of these keys, why its newest record cannot be used, and its digest."""
    held = CatalogMembership.objects.filter(catalog_uuid=catalog_uuid, content__content_key__in=list(errors))
    rows = ContentMetadata.objects.filter(pk__in=held.values("content")).order_by("content_key", "variant")
    keys = dict(for_update(rows).values_list("pk", "content_key"))
    if keys:
        ContentMetadata.objects.filter(pk__in=keys).update(
            failures=F("failures") + 1,
            last_error=Case(*(When(pk=pk, then=Value(errors[key][0])) for pk, key in keys.items())),
            quarantined_digest=Case(*(When(pk=pk, then=Value(errors[key][1])) for pk, key in keys.items())),
        )
