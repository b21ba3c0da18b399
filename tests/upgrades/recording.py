"""A database with every model, state and status in it: filled, written out, and read in again."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from django.apps import apps as current_apps
from django.apps.registry import Apps
from django.conf import settings
from django.core.management import call_command
from django.core.management.color import no_style
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.models import Model

from bursary.access.models import (
    ApiKey,
    ExternalIdentity,
    IdempotentRequest,
    JwkSet,
    KeyScope,
    NoticeAddress,
    RequestTally,
    Role,
    SeenAdministrator,
    SignInFailures,
    Suppression,
    SuppressionReason,
    User,
)
from bursary.assignments import (
    acknowledgement,
    actions,
    address_corrections,
    cancellation,
    declining,
    derived,
    erasure,
    expiry,
    extension,
    redemption,
    reminders,
)
from bursary.assignments.choices import ActionType, ErrorReason, NoticeReason, Status
from bursary.assignments.models import (
    AdministratorNotice,
    LearnerContentAssignment,
    LearnerContentAssignmentAction,
)
from bursary.budgets import terms
from bursary.budgets.models import Budget
from bursary.delivery.models import MailServer, SendingRate
from bursary.events.models import EventKind, EventOutcome, EventSource, InboxEvent
from bursary.ops import scheduler
from bursary.replica.models import (
    ColdRead,
    ColdReadStatus,
    Completeness,
    ContentChange,
    ContentMetadata,
    ContentType,
    FormerContentKey,
    RefreshTrigger,
    ShadowDifference,
    ShadowTally,
)
from tests.world import CATALOG, NOW, allocate, deliver, given_budget, given_content, given_user

DAY = timedelta(days=1)
COURSES = Path(__file__).parents[1] / "data" / "catalog-courses.jsonl"
NEVER_WRITTEN = {ActionType.RUN_CHANGED}
Recording = Mapping[str, Any]


class _Encoder(DjangoJSONEncoder):
    """Encodes microseconds, too. Without them .000345 becomes .000, and once read, nothing at all."""

    def default(self, o: object) -> Any:
        return o.isoformat() if isinstance(o, datetime) else super().default(o)


def fill() -> None:
    """Write rows of every model, and take assignments into every state."""
    scheduler.run_due(clock=lambda: NOW)
    _fill_replica()
    _fill_the_past()
    _fill_assignments()
    _fill_unfinished_work()
    for fact in (ActionType.DELIVERED, ActionType.BOUNCED, ActionType.COMPLAINED):
        actions.record([_of("late")], fact, now=NOW)
    _fill_inbox()
    _fill_tokens()
    RequestTally.objects.create(caller="key 1", minute=29_541_660, count=3)
    IdempotentRequest.objects.create(
        user=given_user(),
        identity="2" * 64,
        fingerprint="3" * 64,
        status=202,
        body={"created": []},
        created=NOW,
        due_at=NOW + DAY,
        early=0,
    )


def _fill_replica() -> None:
    folder = Path(settings.VAR_DIR, "catalog")
    folder.mkdir(exist_ok=True)
    lines = COURSES.read_text(encoding="utf-8").splitlines()[:4]
    (folder / f"{CATALOG}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    given_budget()  # the catalogs of budgets are refreshed
    call_command("refresh_content", stdout=StringIO())
    for kind, trigger in zip(ContentType, [*RefreshTrigger, RefreshTrigger.CRON], strict=True):
        given_content(content_type=kind, trigger=trigger)
        ContentChange.objects.create(
            content=ContentMetadata.objects.latest("pk"),
            field="price_cents",
            old=1,
            new=2,
            created=NOW,
            trigger=trigger,
        )
    given_content(completeness=Completeness.THIN, price_cents=None, quarantined_digest="1" * 64)
    for status in ColdReadStatus:
        ColdRead.objects.create(
            catalog_uuid=CATALOG, content_key=f"X+{status}", status=status, asked_at=NOW, due_at=NOW, early=0
        )
    FormerContentKey.objects.create(former_key="X+0", content_key="X+1")
    ShadowTally.objects.create(catalog_uuid=CATALOG, since=NOW, last_at=NOW, compared=3)
    ShadowDifference.objects.create(
        catalog_uuid=CATALOG,
        content_key="X+1",
        field="title",
        upstream_value="A",
        first_seen=NOW,
        last_seen=NOW,
    )


def _fill_the_past() -> None:
    """Let two assignments expire: erase the learner of one, and let the learner of the other acknowledge.

    Another one is extended.
    """
    budget = given_budget()
    content = given_content()
    for name, days in (("forgotten", -150), ("seen", -100)):
        allocate(budget, content, _address(name), now=NOW + days * DAY)
        deliver(now=NOW + days * DAY)
        expiry.expire_due(now=NOW + (days + 91) * DAY)
        deliver(now=NOW + (days + 91) * DAY)
        if name == "forgotten":
            erasure.forget_due(now=NOW + (days + 92) * DAY, remove=lambda _actions: 0)
    mine = LearnerContentAssignment.objects.filter(learner_email=_address("seen"))
    acknowledgement.acknowledge(mine, uuids=[_of("seen").uuid], now=NOW - DAY)
    allocate(budget, content, _address("extended"), now=NOW)
    extension.extend(budget, uuids=[_of("extended").uuid], until=NOW + 200 * DAY, now=NOW)


def _fill_assignments() -> None:
    budget = given_budget(seats=50)
    content = given_content(start_date=NOW + 30 * DAY)
    admin, learner = (
        given_user(role, customer=budget.customer) for role in (Role.ADMINISTRATOR, Role.LEARNER)
    )
    admin.email = "renamed@people.example"
    admin.save()
    given_user(Role.OPERATOR)
    for scope in KeyScope:
        ApiKey.issue(admin, name="recorded", scope=scope)
    names = ("open", "accepted", "reversed", "declined", "cancelled", "wrong", "reserved")
    allocate(budget, content, *map(_address, names), "a@rejected.invalid", learner.email)
    deliver()
    for name in ("accepted", "reversed"):
        redemption.begin(_of(name), now=NOW + DAY)
    deliver(now=NOW + DAY)
    transaction_uuid = _of("reversed").transaction_uuid
    assert transaction_uuid is not None
    redemption.reverse(transaction_uuid, now=NOW + 2 * DAY)
    declining.decline(_of("declined"), reason="No time", now=NOW + DAY)
    cancellation.cancel(budget, uuids=[_of("cancelled").uuid], now=NOW + DAY, actor=admin)
    mine = LearnerContentAssignment.objects.filter(learner_email=_address("cancelled"))
    acknowledgement.acknowledge(mine, uuids=[_of("cancelled").uuid], now=NOW + 2 * DAY)
    address_corrections.correct_assignment(_of("wrong"), address=_address("right"), now=NOW + DAY)
    reminders.remind_due(now=NOW + 8 * DAY)
    deliver(now=NOW + 8 * DAY)
    reminders.nudge_due(now=NOW + 24 * DAY)
    deliver(now=NOW + 40 * DAY)  # too late for the nudges, which are skipped
    redemption.begin(_of("reserved"), now=NOW + 40 * DAY)
    _fill_deadlines(budget, admin)


def _fill_deadlines(budget: Budget, admin: User) -> None:
    """Write an assignment for each reason of a deadline, and one with a deadline that was moved."""
    closing = given_content(enroll_by=NOW + 50 * DAY)
    allocate(budget, closing, _address("open"), now=NOW + 40 * DAY)
    allocate(budget, given_content(), _address("open"), now=NOW + 40 * DAY, due_date=NOW + 45 * DAY)
    allocate(budget, closing, _address("unsent"), now=NOW + 40 * DAY)
    cancellation.cancel(budget, uuids=[_of("unsent").uuid], now=NOW + 40 * DAY)
    ending = given_budget(ends_at=NOW + 60 * DAY)
    allocate(ending, given_content(), _address("late"), now=NOW + 40 * DAY)
    terms.change(ending, now=NOW + 41 * DAY, terms={"ends_at": NOW + 39 * DAY})


def _fill_unfinished_work() -> None:
    """Write the actions of a busy worker, slow failures, and a notice of each reason."""
    assignment = _of("late")
    common = {"assignment": assignment, "action_type": ActionType.NOTIFIED, "cycle": 1}
    common |= {"created": NOW, "modified": NOW}
    LearnerContentAssignmentAction.objects.create(
        **common,
        dedup_key="running",
        status=Status.RUNNING,
        due_at=NOW + DAY,
        early=0,
        lease_until=NOW + DAY,
        attempts=1,
        fence=1,
    )
    for reason in ErrorReason:
        LearnerContentAssignmentAction.objects.create(
            **common,
            dedup_key=reason.value,
            status=Status.FAILED,
            completed_at=NOW,
            attempts=20,
            error_reason=reason,
            error_code="mail_server_unreachable",
            attempt_log=[{"at": NOW.isoformat(), "attempt": 20, "traceback": "Traceback"}],
        )
    AdministratorNotice.objects.bulk_create(
        AdministratorNotice(
            budget=assignment.budget,
            content=assignment.content,
            assignments=1,
            reason=reason,
            created=NOW,
            due_at=NOW,
            early=0,
        )
        for reason in NoticeReason
    )
    derived.recompute_progress([assignment.pk])


def _fill_tokens() -> None:
    customer, user = Budget.objects.earliest("pk").customer, User.objects.earliest("pk")
    ExternalIdentity.objects.create(user=user, issuer="https://lms.example", username="ada")
    SignInFailures.objects.create(digest="0" * 64, failures=3, since=NOW)
    SeenAdministrator.objects.create(user=user, customer=customer, seen_at=NOW)
    NoticeAddress.objects.create(customer=customer, address="desk@larkspur.example")
    for reason in SuppressionReason:
        Suppression.objects.create(customer=customer, address_hash="4" * 64, reason=reason, since=NOW)
    JwkSet.objects.create(url="https://lms.example/jwks.json", keys='{"keys": []}', due_at=NOW, early=0)


def _fill_inbox() -> None:
    MailServer.objects.create(
        name="default", trouble_since=NOW, error_code="mail_server_busy", due_at=NOW, early=0
    )
    SendingRate.objects.create(name="default", free_at=NOW)
    for number, (kind, source) in enumerate((kind, source) for kind in EventKind for source in EventSource):
        InboxEvent.objects.create(
            event_id=str(number),
            kind=kind,
            source=source,
            payload={"keys": ["X+1"]},
            received_at=NOW,
            due_at=NOW,
            early=0,
        )
    for outcome in EventOutcome:
        InboxEvent.objects.create(
            event_id=outcome.value,
            kind=EventKind.CONTENT_CHANGED,
            source=EventSource.BUS,
            received_at=NOW,
            settled_at=NOW,
            outcome=outcome,
        )


def _address(name: str) -> str:
    return f"{name}@learners.example"


def _of(name: str) -> LearnerContentAssignment:
    return LearnerContentAssignment.objects.get(learner_email=_address(name))


def models(apps: Apps = current_apps) -> Iterator[type[Model]]:
    """Yield Bursary's models, those between two models too, each after the models it refers to."""
    ours = {config.label for config in current_apps.get_app_configs() if config.name.startswith("bursary.")}
    found = [
        model
        for model in apps.get_models(include_auto_created=True)
        if model._meta.app_label in ours and not model._meta.proxy
    ]
    done: set[str] = set()
    while found:
        for model in found:
            refers_to = {
                field.related_model._meta.label  # type: ignore[union-attr]  # a relation has a model
                for field in model._meta.concrete_fields
                if field.is_relation
            }
            if refers_to - {model._meta.label} <= done | {
                label for label in refers_to if label.split(".")[0] not in ours
            }:
                yield model
                done.add(model._meta.label)
        found = [model for model in found if model._meta.label not in done]


def missing() -> list[str]:
    """Return the models without a row, and the members of choices that no row has."""
    found = []
    for model in models():
        rows = model._default_manager
        if not rows.exists() and not model._meta.auto_created:
            found.append(model._meta.label)
        for field in model._meta.concrete_fields:
            if not field.choices:
                continue
            there = set(rows.values_list(field.name, flat=True))
            asked = {value for value, _label in field.flatchoices} - there - NEVER_WRITTEN
            found += [f"{model._meta.label}.{field.name}={value}" for value in sorted(map(str, asked))]
    return found


def dump() -> Recording:
    """Return the newest migration of each app, and every row by model, ready for JSON."""
    leaves = MigrationLoader(connection).graph.leaf_nodes()
    ours = {model._meta.app_label for model in models()}
    rows = {model._meta.label: list(model._default_manager.order_by("pk").values()) for model in models()}
    return json.loads(  # type: ignore[no-any-return]  # it is as it was dumped
        json.dumps(
            {"migrations": {app: name for app, name in leaves if app in ours}, "rows": rows},
            cls=_Encoder,
        )
    )


def load(recording: Recording, *, apps: Apps) -> None:
    """Write the recorded rows with the models that the recorded migrations make."""
    for model in models(apps):
        fields = {field.attname: field for field in model._meta.concrete_fields}
        for row in recording["rows"].get(model._meta.label, []):
            values = {name: fields[name].to_python(value) for name, value in row.items()}
            model(**values).save_base(raw=True, force_insert=True)  # raw: dates of creation stay, too
    with connection.cursor() as cursor:  # rows that follow get keys of their own
        for sql in connection.ops.sequence_reset_sql(no_style(), list(models(apps))):
            cursor.execute(sql)
