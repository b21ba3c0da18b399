"""The examples in the pages work as they stand."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from bursary.assignments.choices import ActionType, Status
from bursary.replica import refresh
from bursary.replica.models import Completeness, ContentMetadata, RefreshTrigger
from tests.api.door import Door
from tests.docs.pages import page, rows, section
from tests.world import (
    ALICE,
    CATALOG,
    NOW,
    action_of,
    addresses,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
)

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

    assert (len(blocks), len(lines)) == (31, 4)
    assert all(json.loads(example) for example in (*blocks, *lines))


@pytest.mark.django_db
def test_the_smallest_record_is_a_full_course_that_can_be_allocated(
    tmp_path: Path, settings: Settings
) -> None:
    line = next(
        line for line in page("docs/operations.md").splitlines() if line.startswith('{"content_type"')
    )
    (tmp_path / f"{CATALOG}.jsonl").write_text(line)
    settings.CATALOG_URL = f"{tmp_path.as_uri()}/"
    refresh.refresh_catalog(CATALOG, source=refresh.configured_source(), now=NOW, trigger=RefreshTrigger.CRON)
    course = ContentMetadata.objects.get(content_key=json.loads(line)["key"])

    allocated = allocate(given_budget(), course, ALICE, price_cents=14_900)

    assert (course.completeness, course.price_cents, course.active) == (Completeness.FULL, 14_900, True)
    assert [one.assignment and one.assignment.price_cents for one in allocated.matches] == [14_900]


@pytest.mark.django_db
def test_healthz_answers_as_the_page_shows_in_the_order_of_its_table(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW)
    asked = section(page("docs/operations.md"), "Check its health")
    allocate(given_budget(), given_content(), *addresses(2))

    answer = client.get("/healthz").content.decode()

    assert answer in asked.splitlines()
    explained = [row[0].strip("`") for row in rows(asked.split(answer)[1])]
    assert explained[: len(json.loads(answer))] == list(json.loads(answer))


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
    site = "http://127.0.0.1:8001"
    known = {"base_url": site, "customer_uuid": "a-customer", "budgets": [budget], "users": users}
    (tmp_path / "var").mkdir()
    (tmp_path / "var/demo.json").write_text(json.dumps(known))

    script = setting.group() + "echo $SITE $API $KEY $LEARNERS_KEY $CUSTOMER $POLICY $CONFIGURATION"
    said = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)

    known_by_name = f"{site} {site}/api/v1 bur_ada bur_lena a-customer a-budget its-configuration"
    assert said.stdout.strip() == known_by_name
