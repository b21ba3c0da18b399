"""No mail to an organisation, and no command about it, shows the runs that only another one may have."""

from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.mail import EmailMessage
from django.core.management import CommandError, call_command, get_commands, load_command_class
from pytest_django import Settings

import bursary.delivery
from bursary.assignments import cancellation, expiry, reminders
from bursary.assignments.choices import Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import notices
from tests.flows.organisations import OTHER, RESTRICTED, Organisation, Scene, two_organisations
from tests.replica.serving import MOVE, NOW, PRIV
from tests.world import deliver

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
TEMPLATES = Path(bursary.delivery.__file__).parent / "templates" / "delivery"


@pytest.fixture
def scene(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return two_organisations(tmp_path, settings, monkeypatch)


def bring_enrolment_forward(scene: Scene) -> None:
    """Let enrolment in the course close tomorrow, in each run and for both catalogs."""
    for records in scene.catalogs.records.values():
        record = records[PRIV]
        for run in record["course_runs"]:
            run["enrollment_end"] = "2026-11-28T09:00:00Z"
        for terms in (record["normalized_metadata"], *record["normalized_metadata_by_run"].values()):
            terms["enroll_by_date"] = "2026-11-28T09:00:00Z"
    scene.catalogs.edit(PRIV, content_last_modified="2026-11-27T15:00:00Z")
    scene.catalogs.sync_both(hours=3)


def unpublish(scene: Scene) -> None:
    """Let the course that both catalogs hold alike be joined no more."""
    for records in scene.catalogs.records.values():
        for run in records[MOVE]["course_runs"]:
            run |= {"status": "unpublished", "is_marketable": False}
    scene.catalogs.edit(MOVE, content_last_modified="2026-11-27T16:00:00Z")
    scene.catalogs.sync_both(hours=4)


def mail_everything(scene: Scene) -> None:
    """Let both organisations' people get every kind of mail."""
    both = (scene.ours, scene.theirs)
    cancelled = [one.assign(MOVE, 2000, name="cancelled") for one in both]
    deliver(now=scene.now)
    bring_enrolment_forward(scene)
    unpublish(scene)
    notices.send_due(clock=lambda: scene.now + DAY / 4)
    for one, assignment in zip(both, cancelled, strict=True):
        cancellation.cancel(one.budget, uuids=[assignment.uuid], now=scene.now + DAY)
    for days in (8, 16):
        reminders.remind_due(now=NOW + days * DAY)
        expiry.expire_due(now=NOW + days * DAY)
        deliver(now=NOW + days * DAY)
    reminders.nudge_due(now=NOW + 60 * DAY)
    deliver(now=NOW + 60 * DAY)


def kinds_of_mail(one: Organisation) -> set[str]:
    sent = LearnerContentAssignmentAction.objects.filter(
        assignment__budget=one.budget, status=Status.DONE
    ).exclude(payload={})
    return set(sent.values_list("action_type", flat=True))


def read_mails(one: Organisation, mails: list[EmailMessage]) -> None:
    for mail in mails:
        if mail.to[0].endswith(f"@{one.host}"):
            bodies = [str(body) for body, _type in getattr(mail, "alternatives", [])]
            subject = str(mail.subject)
            one.seen.append((subject, "\n".join([subject, str(mail.body), *bodies])))


def test_no_mail_shows_them(scene: Scene, mailoutbox: list[EmailMessage]) -> None:
    mail_everything(scene)
    for one in (scene.ours, scene.theirs):
        read_mails(one, mailoutbox)

    every_kind = {file.name.removesuffix(".subject.txt") for file in TEMPLATES.glob("*.subject.txt")}
    without_content = {"password_link", "address_refused"}
    assert kinds_of_mail(scene.ours) | {"deadline_moved", "not_joinable"} == every_kind - without_content
    to_administrator = [mail for mail in mailoutbox if mail.to == [scene.ours.administrator.email]]
    assert len(to_administrator) == 2
    assert scene.ours.found(RESTRICTED | OTHER) == {}
    assert {"its dates", "its name"} <= scene.theirs.found(RESTRICTED | OTHER).keys()


# -- Commands -----------------------------------------------------------------------------------------------

OF_ONE = {"timeline", "audit_content", "audit_derived", "rebuild_derived", "refresh_content"} | {
    "retry_failed",
    "skip_failed",
    "extend_deadlines",
}
"""Commands about one organisation's budget, catalog or assignment. Others are about all, for operators."""
NEW = {"setup"}
"""Takes the same options, for an organisation that it adds."""


def options_of(name: str) -> set[str]:
    parser = load_command_class(get_commands()[name], name).create_parser("bursary", name)
    return {action.dest for action in parser._actions}


def test_each_command_about_one_organisation_is_listed() -> None:
    ours = [name for name, app in get_commands().items() if str(app).startswith("bursary")]
    about_one = {name for name in ours if options_of(name) & {"catalog", "budget", "id"}}
    assert about_one - NEW == OF_ONE


def run_commands(one: Organisation) -> None:
    catalog = f"--catalog={one.budget.catalog_uuid}"
    asked = [
        *(("timeline", str(row.uuid)) for row in one.assignments()),
        *(("audit_content", catalog, *more) for more in ((), ("--all",))),
        ("audit_derived", f"--budget={one.budget.uuid}"),
        ("rebuild_derived", f"--budget={one.budget.uuid}"),
        *(("refresh_content", catalog, *more) for more in ((), ("--dry-run",))),
        ("retry_failed", f"--budget={one.budget.uuid}"),
        ("skip_failed", f"--budget={one.budget.uuid}", "--reason=It has left"),
        ("extend_deadlines", str(one.budget.uuid), "2027-12-31"),
    ]
    assert {name for name, *_arguments in asked} == OF_ONE
    for name, *arguments in asked:
        for form in ((), ("--json",)):
            out = StringIO()
            try:
                call_command(name, *arguments, *form, stdout=out, stderr=out)
            except CommandError as failure:
                out.write(str(failure))
            one.seen.append((" ".join([name, *arguments]), out.getvalue()))


def test_no_command_about_an_organisation_shows_them(scene: Scene) -> None:
    for one, other in ((scene.ours, scene.theirs), (scene.theirs, scene.ours)):
        # What upstream changed since then is reported by the audit.
        scene.catalogs.edit(
            PRIV, title=f"As {other.host} knows it", content_last_modified="2026-11-27T16:00:00Z"
        )
        run_commands(one)

    assert scene.ours.found(RESTRICTED | OTHER) == {}
    assert {"its key", "its price", "its dates"} <= scene.theirs.found(RESTRICTED | OTHER).keys()
