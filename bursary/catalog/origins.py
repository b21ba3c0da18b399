"""Where in upstream's record each value was read from: the paths that `courses.py` and `schema.py` take."""

from collections.abc import Mapping

from bursary.catalog.records import ContentType

_DATES = {
    "start_date": ("start_date", "start"),
    "end_date": ("end_date", "end"),
    "enroll_start": ("enroll_start_date", "enrollment_start"),
    "enroll_by": ("enroll_by_date", "enrollment_end"),
}
"""By column: as upstream normalizes it, and as a run says it itself."""

Record = Mapping[str, object]


def origins(
    content_type: str,
    content_key: str,
    record: Record,
    *,
    course: Record | None = None,
    advertised_run: str = "",
) -> dict[str, str]:
    """Return, by column, the path in the stored record that its value was read from.

    `course` is the record of a run's course: most runs are cut from it, and their paths begin there.
    """
    if content_type == ContentType.COURSE.value:
        return _course(record, advertised_run)
    if content_type == ContentType.COURSERUN.value:
        if course is None or record.get("content_type") == content_type:
            return _separate_run(record)
        return _nested_run(record, content_key, course)
    return _shared(record) | {"partners": "authoring_organizations", "active": "status"}


def _shared(record: Record) -> dict[str, str]:
    return {"uuid": "uuid", "title": "title", "image_url": _image(record)}


def _of_a_course(record: Record) -> dict[str, str]:
    source = record.get("product_source")
    slug = isinstance(source, dict) and source.get("slug")
    return {
        "course_type": "course_type",
        "product_source": "product_source"
        + (".slug" if slug else ".name" if isinstance(source, dict) else ""),
        "partners": "owners",
        "partner_names": "owners[].name",
    }


def _course(record: Record, advertised_run: str) -> dict[str, str]:
    terms = record.get("normalized_metadata")
    price = "normalized_metadata.content_price"
    if advertised_run and isinstance(terms, dict) and not terms.get("content_price"):
        price = f"{_run(advertised_run)}, the price that it lists"
    own = record.get("active")
    return {
        **_shared(record),
        **_of_a_course(record),
        **{name: f"normalized_metadata.{normalized}" for name, (normalized, _own) in _DATES.items()},
        "price_cents": price,
        "pacing": f"{_run(advertised_run)}.pacing_type",
        "weeks_to_complete": f"{_run(advertised_run)}.weeks_to_complete",
        "advertised_run": "advertised_course_run_uuid",
        "active": "active" if isinstance(own, bool) else "course_runs[], whether any can be joined",
        "completeness": "normalized_metadata, whether it is there",
    }


def _nested_run(record: Record, key: str, course: Record) -> dict[str, str]:
    by_run = course.get("normalized_metadata_by_run")
    normalized = isinstance(by_run, dict) and isinstance(by_run.get(key), dict)
    terms = by_run[key] if isinstance(by_run, dict) and normalized else {}
    run = _run(key)
    price = f"normalized_metadata_by_run[{key}].content_price"
    return {
        **_of_a_course(course),
        "uuid": f"{run}.uuid",
        "title": f"{run}.title" if record.get("title") else "title",
        "image_url": f"{run}.{_image(record)}" if _has_image(record) else _image(course),
        **{
            name: f"normalized_metadata_by_run[{key}].{theirs}" if normalized else f"{run}.{own}"
            for name, (theirs, own) in _DATES.items()
        },
        "price_cents": price if terms.get("content_price") else f"{run}, the price that it lists",
        "pacing": f"{run}.pacing_type",
        "weeks_to_complete": f"{run}.weeks_to_complete",
        "active": f"{run}.status, is_marketable, is_enrollable",
        "completeness": "normalized_metadata, whether it is there",
        "parent": "key",
    }


def _separate_run(record: Record) -> dict[str, str]:
    return {
        **_shared(record),
        **{name: own for name, (_normalized, own) in _DATES.items()},
        "pacing": "pacing_type",
        "weeks_to_complete": "weeks_to_complete",
        "active": "published, is_enrollable",
        "parent": "parent_content_key",
    }


def _run(key: str) -> str:
    return f"course_runs[{key or 'advertised'}]"


def _image(record: Record) -> str:
    named = (name for name in ("image_url", "card_image_url") if record.get(name))
    return next(named, "image.src")


def _has_image(record: Record) -> bool:
    image = record.get("image")
    return _image(record) != "image.src" or bool(isinstance(image, dict) and image.get("src"))
