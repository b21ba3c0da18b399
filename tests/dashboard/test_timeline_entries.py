"""The timeline in sentences: each kind of action, however it went, in plain words."""

import itertools
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils.html import strip_tags

from bursary.access.models import User
from bursary.assignments import actions, error_texts, listing
from bursary.assignments.choices import FACTS, WORK, ActionType, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget, Customer
from bursary.dashboard import life_steps, timeline_entries
from bursary.dashboard.timeline_entries import EntryReader
from tests import world
from tests.world import ALICE, BOB, NOW

API_PAGE = Path(__file__).parents[2] / "docs" / "api.md"
ALL = EntryReader(repairable=(), may_correct=True, operates=True)


def assignment(**columns: object) -> LearnerContentAssignment:
    customer = Customer(name="Larkspur Logistics", time_zone="Europe/Madrid")
    return LearnerContentAssignment(**{"learner_email": ALICE, "budget": Budget(customer=customer)} | columns)


def sentence(kind: ActionType, status: str, **columns: object) -> str:
    action = LearnerContentAssignmentAction(
        **{"action_type": kind, "status": status, "created": NOW, "cycle": 1} | columns,
        recipient=BOB if kind in WORK else "",
    )
    return strip_tags(timeline_entries.sentence(action, of=assignment()))


@pytest.mark.parametrize(("kind", "status"), [*itertools.product(ActionType, Status)])
def test_every_kind_of_action_has_a_sentence_in_every_status(kind: ActionType, status: Status) -> None:
    words = sentence(kind, status, error_code="address_rejected")

    assert words[0].isupper()
    assert words.endswith(".")
    assert not re.search("[{}_]|" + re.escape(kind.value) + "[^ .:]", words)
    assert (BOB in words) == (kind in WORK - {ActionType.REDEEMED})


@pytest.mark.parametrize("kind", sorted(WORK))
def test_the_sentences_of_one_kind_of_work_differ_by_how_it_went(kind: ActionType) -> None:
    once = [sentence(kind, status, error_code="address_rejected") for status in Status]
    again = sentence(kind, Status.PENDING, attempts=2, error_code="mail_server_unreachable")

    assert len({*once, again}) == len(Status) + 1


def test_the_sentences_of_facts_differ() -> None:
    assert len({sentence(kind, Status.DONE) for kind in FACTS}) == len(FACTS)


def test_a_later_allocation_is_said_to_be_one() -> None:
    assert sentence(ActionType.ALLOCATED, Status.DONE).startswith("The course was assigned,")
    assert sentence(ActionType.ALLOCATED, Status.DONE, cycle=2).startswith("The course was assigned again,")


def test_a_failure_says_why_as_people_say_it() -> None:
    failed = sentence(ActionType.NOTIFIED, Status.FAILED, error_code="address_rejected")
    assert failed == f"The invitation to {BOB} failed: the address does not exist."

    waits = sentence(
        ActionType.REMINDED, Status.PENDING, attempts=1, due_at=NOW, attempt_log=[{"cause": "answer_lost"}]
    )
    assert waits == (
        f"A reminder to {BOB} could not be sent yet: "
        "the mail server did not confirm the mail: it may have arrived."
    )
    dropped = sentence(ActionType.REMINDED, Status.SUPERSEDED, error_code="redeemed")
    assert dropped == f"A reminder to {BOB} was not needed any more: the learner had accepted the course."


def test_each_cause_that_is_documented_has_words_of_its_own() -> None:
    section = API_PAGE.read_text(encoding="utf-8").partition("### Causes")[2].partition("\n#")[0]
    documented = re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE)

    assert "address_rejected" in documented
    assert [code for code in documented if code not in error_texts.ERROR_TEXTS] == []


def test_an_erased_learner_is_not_named_by_the_placeholder() -> None:
    placeholder = "forgotten-0f0e@forgotten.invalid"
    action = LearnerContentAssignmentAction(action_type=ActionType.NOTIFIED, status=Status.DONE, created=NOW)

    words = timeline_entries.sentence(action, of=assignment(learner_email=placeholder))

    assert strip_tags(words) == "The invitation to Learner (name removed) was sent."


def test_what_was_typed_for_an_address_is_harmless() -> None:
    action = LearnerContentAssignmentAction(
        action_type=ActionType.NOTIFIED, status=Status.DONE, created=NOW, recipient="<script>@x"
    )

    assert "<bdi>&lt;script&gt;@x</bdi>" in timeline_entries.sentence(action, of=assignment())


@pytest.mark.on_every_engine
@pytest.mark.django_db
def test_an_entry_has_the_actor_the_mail_and_how_long_it_took() -> None:
    row = world.given_assignment()
    world.deliver(now=NOW + timedelta(seconds=150))
    row.actions.update(actor=world.given_user(first_name="Ada", last_name="Byron"))
    sent = world.action_of(row, ActionType.NOTIFIED)

    (entry,) = timeline_entries.entries([sent.pk], of=row, reader=ALL, now=NOW)

    assert (entry.by, entry.took.replace("\xa0", " "), entry.kind) == ("Ada Byron", "2 minutes", "done")
    assert (entry.subject, entry.text) == (sent.payload["subject"], sent.payload["text"])
    assert "Tidal Engines" in entry.text


@pytest.mark.on_every_engine
@pytest.mark.django_db
def test_a_mail_without_its_text_says_that_it_is_not_kept_any_more() -> None:
    row = world.given_assignment()
    world.deliver()
    pks = [action.pk for action in row.actions.order_by("pk")]
    mails = {ActionType.NOTIFIED}

    for days, ended in ((365, set()), (366, mails)):
        now = NOW + timedelta(days=days)
        shown = timeline_entries.entries(pks, of=row, reader=ALL, now=now)
        assert {entry.action.action_type for entry in shown if entry.text_ended} == ended


@pytest.mark.django_db
def test_an_actor_that_was_erased_is_shown_as_such() -> None:
    row = world.given_assignment()
    User.objects.filter(pk=world.given_user().pk).update(username="forgotten-1@forgotten.invalid")
    row.actions.update(actor=User.objects.get())

    (entry,) = timeline_entries.entries([row.actions.latest("pk").pk], of=row, reader=ALL, now=NOW)

    assert entry.by == "User (name removed)"


@pytest.mark.django_db
def test_what_to_do_is_said_of_failures_that_stand_alone() -> None:
    row = world.given_assignment(address="alice@nowhere.invalid")
    world.deliver()
    failed = world.action_of(row, ActionType.NOTIFIED)

    def shown(*, repairable: bool, may_correct: bool = True, days: int = 0) -> timeline_entries.TimelineEntry:
        reader = EntryReader([failed.pk] if repairable else [], may_correct, operates=False)
        return timeline_entries.entries([failed.pk], of=row, reader=reader, now=NOW + timedelta(days=days))[0]

    entry = shown(repairable=True)
    assert (entry.next_step, entry.repairable, entry.correctable) == ("Correct the address.", True, True)
    assert not entry.traceback
    assert not shown(repairable=True, may_correct=False).correctable
    answered = shown(repairable=False)
    assert (answered.next_step, answered.repairable, answered.correctable) == ("", False, False)
    assert not shown(repairable=True, days=30).failed_long_ago
    assert shown(repairable=True, days=31).failed_long_ago


@pytest.mark.django_db
def test_a_mail_that_came_back_asks_for_another_address_until_there_is_one() -> None:
    row = world.given_assignment()
    actions.record([row], ActionType.BOUNCED, now=NOW)
    bounced = world.action_of(row, ActionType.BOUNCED)

    def shown(**reader: Any) -> tuple[str, bool]:
        known = EntryReader([], may_correct=True, operates=False, **reader)
        (entry,) = timeline_entries.entries([bounced.pk], of=row, reader=known, now=NOW)
        return entry.next_step, entry.correctable

    assert shown() == ("Correct the address.", True)
    assert shown(corrected_at=NOW - timedelta(days=1)) == ("Correct the address.", True)
    assert shown(corrected_at=NOW + timedelta(days=1)) == ("", False)
    row.cycle += 1
    assert shown() == ("", False)


@pytest.mark.django_db
def test_what_is_over_has_the_time_of_its_end_as_in_its_steps() -> None:
    row = world.given_assignment()
    world.deliver(now=NOW + timedelta(hours=22))
    sent = world.action_of(row, ActionType.NOTIFIED)

    (entry,) = timeline_entries.entries([sent.pk], of=row, reader=ALL, now=NOW)

    assert (entry.at, entry.took.replace("\xa0", " ")) == (NOW + timedelta(hours=22), "22 hours")
    (loaded,) = listing.with_timelines([row.pk], now=NOW, with_join_by=False)
    steps = life_steps.steps_of(loaded, now=NOW + timedelta(days=2)).steps
    assert [step.at for step in steps if step.label == "Notified"] == [entry.at]
