"""The examples in the pages work as they stand."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from pytest_django import Settings

from bursary.assignments.choices import ActionType, Status
from bursary.catalog import parser
from tests.api.door import Door
from tests.docs.pages import page
from tests.world import action_of, deliver, given_assignment

SECRET = "whsec_bWFkZSB1cCwgYW5kIG9mIGVub3VnaCBieXRlcw=="
JSON = re.compile(r"^```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SIGNING = re.search(r"^(import base64.*?)^```$", page("docs/api.md"), re.MULTILINE | re.DOTALL)
(RETRYING,) = re.findall(r"^bursary (retry_failed .*)$", page("docs/operations.md"), re.MULTILINE)


def test_every_example_of_json_is_json() -> None:
    pages = [page(f"docs/{name}.md") for name in ("operations", "api")]
    blocks = [block for text in pages for block in JSON.findall(text)]
    lines = [
        line for text in pages for line in JSON.sub("", text).splitlines() if line.startswith(("{", "[{"))
    ]

    assert (len(blocks), len(lines)) == (30, 4)
    assert all(json.loads(example) for example in (*blocks, *lines))


def test_the_smallest_record_is_a_full_course_that_can_be_allocated() -> None:
    line = next(
        line for line in page("docs/operations.md").splitlines() if line.startswith('{"content_type"')
    )
    course = parser.parse(json.loads(line))

    assert course.completeness is parser.Completeness.FULL
    assert (course.price_cents, course.active, course.notes) == (14_900, True, ())


@pytest.mark.django_db
def test_what_failed_is_requested_again_as_the_page_says() -> None:
    assignment = given_assignment(address="no-one@nowhere.invalid")
    deliver()

    call_command(*RETRYING.replace("mail_server_unreachable", "address_rejected").replace("240", "1").split())

    assert action_of(assignment, ActionType.NOTIFIED).retry_of == action_of(
        assignment, ActionType.NOTIFIED, status=Status.FAILED
    )


@pytest.mark.django_db
def test_a_webhook_signed_by_hand_as_the_page_says_is_accepted(settings: Settings) -> None:
    assert SIGNING is not None
    settings.WEBHOOK_SECRETS = [SECRET]
    body = next(line for line in page("docs/api.md").splitlines() if line.startswith('{"type": "content'))
    names: dict[str, Any] = {}
    exec(compile(SIGNING.group(1), "docs/api.md", "exec"), names)

    headers = names["headers"](SECRET, "msg_1", body.encode())
    sent = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}

    assert Door().send("POST", "content-events/", body.encode(), **sent).status_code == 202


def test_what_the_calls_need_is_read_from_the_demonstration_as_the_page_says(tmp_path: Path) -> None:
    setting = re.search(r"^known\(\).*?(?=^alias)", page("docs/api.md"), re.MULTILINE | re.DOTALL)
    assert setting is not None
    users = {"administrator": {"api_key": "bur_ada"}, "learner": {"api_key": "bur_lena"}}
    budget = {"uuid": "a-budget", "assignment_configuration_uuid": "its-configuration"}
    known = {"customer_uuid": "a-customer", "budgets": [budget], "users": users}
    (tmp_path / "var").mkdir()
    (tmp_path / "var/demo.json").write_text(json.dumps(known))

    script = setting.group() + "echo $KEY $LEARNERS_KEY $CUSTOMER $POLICY $CONFIGURATION"
    said = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert said.stdout.split() == ["bur_ada", "bur_lena", "a-customer", "a-budget", "its-configuration"]
