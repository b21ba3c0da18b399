"""Whatever is sent is understood or refused with a clear 4xx, and what is refused changes nothing."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from rest_framework import serializers

from bursary.api.inputs import InstantField
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Answer, Door, allocating, body_of, listing, refusal_of
from tests.world import ALICE, BOB, PRICE, addresses, given_assignment

pytestmark = pytest.mark.django_db


@pytest.fixture(params=[False, True], ids=["allocate", "can-allocate"])
def dry(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def raw(content: ContentMetadata, field: str, value: str) -> bytes:
    """Return an allocation's body in which `field` is this JSON, also where no encoder would write it."""
    return json.dumps(body_of(content, ALICE, **{field: "HERE"})).replace('"HERE"', value).encode()


def refused(answer: Answer, status: int = 400, reason: str = "invalid_request") -> bool:
    """Return whether it was refused so, in JSON, and nothing was changed."""
    assert refusal_of(answer) == (status, reason)
    assert answer.headers["Content-Type"] == "application/json"
    return not LearnerContentAssignment.objects.exists() and not Budget.objects.get().reserved_cents


@pytest.mark.parametrize(
    ("sent", "cents"),
    [
        ("1999", 1999),
        ("1999.0", 1999),
        ("1998.9999999999998", 1999),  # what browsers make of $19.99
        ("1999.0000000000002", 1999),
        ("1.999e3", 1999),
    ],
)
def test_a_price_is_rounded_by_a_floats_breadth(
    door: Door, budget: Budget, content: ContentMetadata, sent: str, cents: int
) -> None:
    ContentMetadata.objects.update(price_cents=1999)
    answer = door.send("POST", allocating(budget), raw(content, "content_price_cents", sent))
    assert answer.status_code == 202
    assert answer.json()["created"][0]["content_quantity"] == -cents


NO_PRICES = [
    ("19.5", "A price is a whole number of cents."),
    ("19899.99", "A price is a whole number of cents."),
    ("-1", "A price lies between 0 and 10000000000000 cents."),
    ("-0.0000001", "A price lies between 0 and 10000000000000 cents."),
    ("10000000000001", "A price lies between 0 and 10000000000000 cents."),
    ("1e22", "A price lies between 0 and 10000000000000 cents."),
    ("9" * 400, "A price lies between 0 and 10000000000000 cents."),
    ("1e999", "A price is a number of cents."),  # infinity, once it is read
    ("-1e999", "A price is a number of cents."),
    ("true", "A price is a number of cents."),
    ('"19900"', "A price is a number of cents."),
    ("[19900]", "A price is a number of cents."),
    ('{"usd": 199}', "A price is a number of cents."),
    ("null", "This field may not be null."),
]


def test_a_price_that_is_none_is_refused(
    door: Door, budget: Budget, content: ContentMetadata, dry: bool, subtests: pytest.Subtests
) -> None:
    for sent, problem in NO_PRICES:
        with subtests.test(sent[:20]):
            answer = door.send("POST", allocating(budget, dry=dry), raw(content, "content_price_cents", sent))
            assert refused(answer)
            assert answer.json()["content_price_cents"] == [problem]
            assert answer.json()["detail"] == f"content_price_cents: {problem}"


NO_TEXTS = ["null", "7", "true", "{}", "[]", '["deep"]', "1e999", '"\\ud800"', '"\\u0000"']


def test_entries_that_are_no_text_are_named_with_the_other_bad_addresses(
    door: Door, budget: Budget, content: ContentMetadata, subtests: pytest.Subtests
) -> None:
    for sent in NO_TEXTS:
        with subtests.test(sent):
            entries = f'["{ALICE}", {sent}, "nobody"]'
            answer = door.send("POST", allocating(budget), raw(content, "learner_emails", entries))
            assert refused(answer, 400, "invalid_addresses")
            assert sorted(answer.json()["learner_emails"]) == ["1", "2"]

            tried = door.send("POST", allocating(budget, dry=True), raw(content, "learner_emails", entries))
            assert tried.status_code == 200
            assert [one["verdict"] for one in tried.json()["learners"]] == ["new", "invalid", "invalid"]


def test_half_a_character_is_no_part_of_an_address(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    for where in ("\\ud800@learners.example", "alice@\\udfff.example", "\\ud83d@x.example"):
        answer = door.send("POST", allocating(budget), raw(content, "learner_emails", f'["{where}"]'))
        assert refused(answer, 400, "invalid_addresses"), where


UNREADABLE = [
    ("learner_emails", "null", "This field may not be null."),
    ("learner_emails", "[]", "This list may not be empty."),
    ("learner_emails", '"a@learners.example"', "This is not a list."),
    ("learner_emails", "{}", "This is not a list."),
    ("content_key", "null", "This field may not be null."),
    ("content_key", '""', "This field may not be blank."),
    ("content_key", '"  "', "This field may not be blank."),
    ("content_key", "true", "Not a valid string."),
    ("content_key", '["a"]', "Not a valid string."),
    ("content_key", '"a\\u0000b"', "Null characters are not allowed."),
    ("content_key", '"\\ud800"', "Surrogate characters are not allowed: U+D800."),
    ("content_key", f'"{"k" * 256}"', "Ensure this field has no more than 255 characters."),
    ("admin_lms_user_id", '"ada"', "A valid integer is required."),
    ("admin_lms_user_id", "1e999", "A valid integer is required."),
]


def test_a_field_that_cannot_be_read_is_named(
    door: Door, budget: Budget, content: ContentMetadata, dry: bool, subtests: pytest.Subtests
) -> None:
    for field, sent, problem in UNREADABLE:
        with subtests.test(f"{field}: {sent[:20]}"):
            answer = door.send("POST", allocating(budget, dry=dry), raw(content, field, sent))
            assert refused(answer)
            assert answer.json()[field] == [problem]


def test_every_missing_field_is_named(
    door: Door, budget: Budget, content: ContentMetadata, dry: bool
) -> None:
    answer = door.send("POST", allocating(budget, dry=dry), b"{}")
    assert refused(answer)
    assert set(answer.json()) >= {"content_key", "content_price_cents", "learner_emails"}


BODIES = {
    "nothing": b"",
    "half an object": b"{",
    "no JSON": b"content_key=Tides",
    "a list": b"[]",
    "null": b"null",
    "a number": b"3",
    "a text": b'"content_key"',
    "not a number": b'{"content_price_cents": NaN}',
    "infinity": b'{"content_price_cents": -Infinity}',
    "5,000 digits": b'{"content_price_cents": ' + b"9" * 5000 + b"}",
    "invalid UTF-8": b'{"content_key": "\xff\xfe"}',
    "UTF-16": json.dumps({"content_key": "k"}).encode("utf-16"),
    "an open bracket bomb": b"[" * 100_000,
    "a closed bracket bomb": b"[" * 100_000 + b"]" * 100_000,
    "a brace bomb": b'{"a":' * 50_000,
    "a deep field": b'{"learner_emails": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
}


@pytest.mark.parametrize("address", ["allocate", "can-allocate", "cancel"])
def test_what_is_no_json_object_is_refused(
    door: Door, budget: Budget, content: ContentMetadata, address: str, subtests: pytest.Subtests
) -> None:
    path = (
        f"{listing(budget)}cancel/" if address == "cancel" else allocating(budget, dry=address != "allocate")
    )
    for kind, body in BODIES.items():
        with subtests.test(kind):
            assert refused(door.send("POST", path, body))


NOT_JSON = [
    (b"content_key=Tides", "Line 1, column 1: "),
    (b'{"content_key": "k",\n "admin_lms_user_id" 7}', "Line 2, column 22: "),
    (b'{"content_key": "k"} and more', "Line 1, column 22: "),
    (b'{"content_key": "a\xff"}', "Byte 19: it is not UTF-8."),
]


@pytest.mark.parametrize(("body", "position"), NOT_JSON)
def test_a_body_that_is_not_json_is_refused_with_the_position_at_which_that_shows(
    door: Door, budget: Budget, content: ContentMetadata, body: bytes, position: str
) -> None:
    answer = door.send("POST", allocating(budget), body)

    assert refused(answer)
    assert answer.json()["detail"].startswith(f"The body is not JSON. {position}")
    assert answer.json()["next_step"] == "Send the whole body as JSON, in UTF-8."
    assert set(answer.json()) == {"reason", "detail", "next_step"}


WITHOUT_POSITION = [
    (b"\xef\xbb\xbf{}", "The body is not JSON: it begins with a byte order mark (U+FEFF)."),
    (b'{"content_price_cents": NaN}', "The body is not JSON: NaN is not a number in JSON."),
    (b'{"content_price_cents": Infinity}', "The body is not JSON: Infinity is not a number in JSON."),
    (b'{"content_price_cents": -Infinity}', "The body is not JSON: -Infinity is not a number in JSON."),
]
TOO_MUCH = [
    (b'{"content_price_cents": ' + b"9" * 5000 + b"}", "The body has a number of more than 4,300 digits."),
    (b"[" * 100_000, "The body is nested too deeply."),
]


@pytest.mark.parametrize(("body", "detail"), WITHOUT_POSITION + TOO_MUCH, ids=lambda one: str(one[-30:]))
def test_what_json_does_not_have_or_has_too_much_of_is_named(
    door: Door, budget: Budget, content: ContentMetadata, body: bytes, detail: str
) -> None:
    answer = door.send("POST", allocating(budget), body)

    assert refused(answer)
    todo = "Correct what the detail says and send the request again."
    next_step = todo if (body, detail) in TOO_MUCH else "Send the whole body as JSON, in UTF-8."
    assert answer.json() == {"reason": "invalid_request", "detail": detail, "next_step": next_step}


@pytest.mark.parametrize("body", [b"[]", b"null", b"3", b'"assignment_uuids"'])
def test_what_to_do_names_no_fields_where_the_refusal_names_none(
    door: Door, budget: Budget, body: bytes
) -> None:
    answer = door.send("POST", f"{listing(budget)}cancel/", body)
    assert refused(answer)
    assert answer.json()["detail"] == "The body is not a JSON object."
    assert answer.json()["next_step"] == "Correct what the detail says and send the request again."

    no_list = door.post(f"{listing(budget)}cancel/", {"assignment_uuids": {}})
    assert no_list.json()["detail"] == "assignment_uuids: This is not a list."

    named = door.send("POST", f"{listing(budget)}cancel/", b"{}")
    assert list(named.json()) == ["assignment_uuids", "reason", "detail", "next_step"]
    assert named.json()["next_step"] == "Correct the named fields and send the request again."


def test_no_depth_of_nesting_is_a_server_error(
    door: Door, budget: Budget, content: ContentMetadata, dry: bool
) -> None:
    """A body shallow enough to be parsed may still be too deep for later code."""
    for depth in range(500, 1000, 25):
        bomb = f"[{'[' * depth}{']' * depth}]"
        answer = door.send("POST", allocating(budget, dry=dry), raw(content, "learner_emails", bomb))
        assert answer.status_code in ({200, 400} if dry else {400}), depth
        assert not LearnerContentAssignment.objects.exists(), depth


def test_of_a_name_that_is_given_twice_the_last_counts(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    body = json.dumps(body_of(content, ALICE))
    twice = f'{{"content_key": "Another+Course", {body[1:]}'.encode()
    answer = door.send("POST", allocating(budget), twice)
    assert [row["content_key"] for row in answer.json()["created"]] == [content.content_key]


def test_unknown_fields_are_ignored(door: Door, budget: Budget, content: ContentMetadata) -> None:
    assert door.allocate(budget, content, ALICE, state="accepted", price_cents=1).status_code == 202
    assert LearnerContentAssignment.objects.get().price_cents == PRICE


@pytest.mark.parametrize(("tried", "count"), [(False, 30_000), (True, 10_001)])
def test_more_than_ten_thousand_addresses_are_refused(
    door: Door, budget: Budget, content: ContentMetadata, tried: bool, count: int
) -> None:
    body = json.dumps(body_of(content, *addresses(count))).encode()
    answer = door.send("POST", allocating(budget, dry=tried), body)
    assert refused(answer, 400, "too_many_addresses")
    assert answer.json()["count"] == count


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
def test_a_body_over_the_limit_is_413(
    door: Door, budget: Budget, content: ContentMetadata, dry: bool, settings: Any, content_type: str
) -> None:
    body = b'"' + b"x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE + b'"'
    answer = door.send("POST", allocating(budget, dry=dry), body, content_type=content_type)
    if content_type == "application/json":
        assert refused(answer, 413, "body_too_large")
    else:
        assert refused(answer, 415, "unsupported_media_type")


def test_a_body_over_the_limit_is_413_for_a_browser_too(
    door: Door, budget: Budget, content: ContentMetadata, settings: Any
) -> None:
    body = b'"' + b"x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE + b'"'
    answer = door.send("POST", allocating(budget), body, HTTP_ACCEPT="text/html")
    assert answer.status_code == 413
    assert "body_too_large" in answer.content.decode()


OTHER_TYPES = [
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    "text/plain",
    "application/xml",
    "",
    "nonsense",
]


def test_another_media_type_than_json_is_415(door: Door, budget: Budget, content: ContentMetadata) -> None:
    for content_type in OTHER_TYPES:
        answer = door.send("POST", allocating(budget), b"a=1", content_type=content_type)
        assert refused(answer, 415, "unsupported_media_type"), content_type


def test_a_charset_that_the_body_is_not_in_is_refused(
    door: Door, budget: Budget, content: ContentMetadata, subtests: pytest.Subtests
) -> None:
    body = json.dumps(body_of(content, ALICE)).encode()
    for charset in ("bz2_codec", "undefined", "punycode", "utf-16"):
        with subtests.test(charset):
            of_type = f"application/json; charset={charset}"
            assert refused(door.send("POST", allocating(budget), body, content_type=of_type))


NO_UUIDS = ['"x"', "1.5", "{}", "[[]]", "1e999", '"\\ud800"', '"\\u0000"', "-1", "9" * 40, "null"]


def test_a_uuid_that_is_none_is_named_by_its_position(
    door: Door, budget: Budget, content: ContentMetadata, subtests: pytest.Subtests
) -> None:
    assignment = given_assignment(budget, content)
    for sent in NO_UUIDS:
        with subtests.test(sent):
            body = f'{{"assignment_uuids": ["{assignment.uuid}", {sent}]}}'.encode()
            answer = door.send("POST", f"{listing(budget)}cancel/", body)
            assert refusal_of(answer) == (400, "invalid_request")
            assert list(answer.json()["assignment_uuids"]) == ["1"]
            assert LearnerContentAssignment.objects.get().state == "allocated"


@pytest.mark.parametrize(
    "sent", [b"[]", b"null", b'"x"', b"{}", b"[" + b"1," * 10_000 + b"1]"], ids=lambda sent: sent[:5].decode()
)
def test_uuids_that_are_no_list_or_too_many_are_refused(door: Door, budget: Budget, sent: bytes) -> None:
    answer = door.send("POST", f"{listing(budget)}cancel/", b'{"assignment_uuids": ' + sent + b"}")
    assert refusal_of(answer) == (400, "invalid_request")


def test_addresses_may_have_spaces_around_them_and_letters_of_any_case(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    body = door.allocate(budget, content, f" {ALICE}\r\n", BOB.upper()).json()
    assert [row["learner_email"] for row in body["created"]] == [ALICE, BOB]


OF_QUERIES = {
    *("PageInput", "CursorInput", "RequestsInput", "AllocateSummaryInput"),
    *("CanRequestInput", "LearnerProfileInput"),
}
"""Shapes of query strings, which have text for every value; the others are of JSON bodies."""

WRONGLY_TYPED: dict[type[serializers.Field[Any, Any, Any, Any]], list[object]] = {
    serializers.CharField: [0, 1.5, True, ["a"], {"a": "b"}],
    serializers.UUIDField: [0, 5, True],
    serializers.BooleanField: [0, 1, "true", "yes", "", []],
    serializers.IntegerField: ["5", "", True, 5.5],
    InstantField: [20270131, True],
}


def fields_of_bodies() -> Iterator[tuple[str, serializers.Field[Any, Any, Any, Any]]]:
    """Yield each field of a body, and of what stands in lists in it."""
    for shape in sorted(subclasses(serializers.Serializer), key=lambda one: one.__name__):
        name = shape.__name__
        if shape.__module__.startswith("bursary.api") and name.endswith(("Input", "Data")):
            if name in OF_QUERIES or name.startswith("_"):
                continue
            for field_name, field in shape().fields.items():
                yield f"{name}.{field_name}", getattr(field, "child", field)


def subclasses(base: type[Any]) -> Iterator[type[Any]]:
    for one in base.__subclasses__():
        yield one
        yield from subclasses(one)


def test_a_value_of_another_json_type_is_refused_and_not_taken_for_one_of_its_own(
    subtests: pytest.Subtests,
) -> None:
    asked = 0
    for name, field in fields_of_bodies():
        others = next((values for kind, values in WRONGLY_TYPED.items() if isinstance(field, kind)), [])
        for value in others:
            with subtests.test(f"{name}: {value!r}"), pytest.raises(serializers.ValidationError):
                field.run_validation(value)
            asked += 1
    assert asked > 80
