"""Gives runs the keys of their courses and memberships of their own, and courses their variants.

Every catalog that holds a course gets its runs, restricted ones only where the course's record came from. What
else a catalog is served shows at its next listing, which is due now.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

from django.db import migrations
from django.db.models import Case, Q, Value, When
from django.utils import timezone

PAGE = 200
RUN = "courserun"
LINKS = {"enrollment_url", "marketing_url", "xapi_activity_id"}


def pages(rows: Any, *columns: str) -> Iterator[list[Any]]:
    """Yield rows by primary key, which is the first column, a page a query."""
    after = 0
    while page := list(rows.filter(pk__gt=after).order_by("pk").values_list("pk", *columns)[:PAGE]):
        yield page
        after = page[-1][0]


def forwards(apps: Any, _schema_editor: Any) -> None:
    contents = apps.get_model("replica", "ContentMetadata").objects
    members = apps.get_model("replica", "CatalogMembership")
    restricted_courses: set[int] = set()
    columns = ("content_key", "parent", "parent__content_key", "parent__fetched_from", "payload")
    for page in pages(contents.filter(content_type=RUN), *columns):
        restricted = {pk for pk, *_rest, payload in page if payload.get("restriction_type")}
        restricted_courses |= {course for pk, _key, course, *_rest in page if course and pk in restricted}
        _describe_runs(contents, page)
        _add_memberships(members, page, restricted)
    for page in _courses(contents, restricted_courses):
        variants = {pk: _variant(payload) for pk, payload in page}
        for variant in set(variants.values()) - {""}:
            contents.filter(pk__in=[pk for pk in variants if variants[pk] == variant]).update(variant=variant)
        catalogs = members.objects.filter(content__in=list(variants)).order_by()
        listings = apps.get_model("replica", "CatalogListing").objects
        listings.filter(catalog_uuid__in=set(catalogs.values_list("catalog_uuid", flat=True))).update(
            due_at=timezone.now(), early=0
        )
    for page in pages(members.objects.all(), "content__content_key", "links"):
        own = {
            pk: links[key] if isinstance(links.get(key), dict) else {}
            for pk, key, links in page
            if links and not set(links) <= LINKS
        }
        rows = [members(pk=pk, links=links) for pk, links in own.items()]
        members.objects.bulk_update(rows, ["links"])


def _courses(contents: Any, pks: set[int]) -> Iterator[list[Any]]:
    found = sorted(pks)
    for start in range(0, len(found), PAGE):
        yield list(contents.filter(pk__in=found[start : start + PAGE]).values_list("pk", "payload"))


def _describe_runs(contents: Any, page: list[Any]) -> None:
    keys = {pk: course_key for pk, _key, course, course_key, *_rest in page if course}
    offered = [pk for pk, *_rest, payload in page if _offered(payload)]
    enrollable = [pk for pk, *_rest, payload in page if payload.get("is_enrollable") is True]
    contents.filter(pk__in=[pk for pk, *_rest in page]).update(
        parent_key=Case(*(When(pk=pk, then=Value(key)) for pk, key in keys.items()), default=Value("")),
        offered=Case(When(pk__in=offered, then=Value(True)), default=Value(False)),
        enrollable=Case(When(pk__in=enrollable, then=Value(True)), default=Value(False)),
    )


def _offered(payload: dict[str, object]) -> bool:
    if payload.get("is_marketable_external") is True:
        return True
    if payload.get("content_type") == RUN:  # a record of its own, a search document
        return payload.get("published") is True and payload.get("is_marketable") is not False
    return payload.get("status") == "published" and payload.get("is_marketable") is True


def _variant(payload: dict[str, Any]) -> str:
    runs = [run for run in payload.get("course_runs") or [] if isinstance(run, dict)]
    restricted = sorted(str(run.get("key")) for run in runs if run.get("restriction_type"))
    return hashlib.sha256("\n".join(restricted).encode()).hexdigest() if restricted else ""


def _add_memberships(members: Any, page: list[Any], restricted: set[int]) -> None:
    runs_of: dict[int, list[Any]] = {}
    for run in page:
        runs_of.setdefault(run[2], []).append(run)
    held = members.objects.filter(content__in=[course for course in runs_of if course])
    for found in pages(held, "content", "catalog_uuid", "created", "seen_at", "links"):
        rows = [
            members(
                catalog_uuid=catalog,
                content_id=pk,
                named_by=course_key,
                created=created,
                seen_at=seen_at,
                links=links.get(key) or {},
            )
            for _pk, course, catalog, created, seen_at, links in found
            for pk, key, _course, course_key, fetched_from, _payload in runs_of[course]
            if pk not in restricted or str(catalog) in fetched_from
        ]
        members.objects.bulk_create(rows, ignore_conflicts=True, batch_size=1000)


def backwards(apps: Any, _schema_editor: Any) -> None:
    contents = apps.get_model("replica", "ContentMetadata").objects
    members = apps.get_model("replica", "CatalogMembership").objects
    for page in pages(members.exclude(content__content_type=RUN), "catalog_uuid", "content__content_key", "links"):
        keys = {key for _pk, _catalog, key, _links in page}
        runs = members.filter(
            content__parent_key__in=keys, catalog_uuid__in={catalog for _pk, catalog, *_rest in page}
        )
        of_run: dict[tuple[object, str], dict[str, object]] = {}
        for catalog, course, key, links in runs.values_list(
            "catalog_uuid", "content__parent_key", "content__content_key", "links"
        ):
            of_run.setdefault((catalog, course), {}).update({key: links} if links else {})
        rows = [
            members.model(pk=pk, links=({key: links} if links else {}) | of_run.get((catalog, key), {}))
            for pk, catalog, key, links in page
        ]
        members.bulk_update(rows, ["links"])
    members.filter(content__content_type=RUN).delete()
    # The release before has one row a key: the others of a key keep their assignments under another one.
    for page in pages(contents.exclude(variant=""), "content_key", "variant"):
        for pk, key, variant in page:
            if contents.filter(content_key=key).exclude(pk=pk).exists():
                contents.filter(pk=pk).update(content_key=f"{key[:238]}#{variant[:16]}", variant="")
    runs = contents.filter(~Q(parent_key=""), content_type=RUN)
    for page in pages(runs, "parent_key"):
        courses = dict(
            contents.filter(content_key__in={key for _pk, key in page}).values_list("content_key", "pk")
        )
        for course_key, course in courses.items():
            contents.filter(pk__in=[pk for pk, key in page if key == course_key]).update(parent=course)


class Migration(migrations.Migration):
    dependencies = [("replica", "0002_variants_and_memberships_of_runs")]

    operations = [migrations.RunPython(forwards, backwards)]
