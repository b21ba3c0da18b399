"""Allocating over HTTP, and trying it out: the shapes that clients read, and what is refused how."""

from datetime import timedelta
from typing import Any

import pytest

from bursary.assignments.models import (
    AllocationBatch,
    LearnerContentAssignment,
    LearnerContentAssignmentAction,
)
from bursary.budgets.models import Account, Budget
from bursary.lib.money import dollars
from bursary.replica.models import Completeness, ContentMetadata, ContentType
from tests.api.door import Door, refusal_of
from tests.world import ALICE, BOB, CAROL, NOW, NOW_ISO, PRICE, addresses, given_content, given_user

pytestmark = pytest.mark.django_db


def test_an_administrators_own_due_date_makes_the_deadline_where_it_is_the_nearest(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    due = "2026-03-20T12:00:00Z"
    seen = door.can_allocate(budget, content, ALICE, due_date=due).json()
    assert seen["deadline"] == {"date": due, "reason": "DUE_DATE_PASSED"}
    [created] = door.allocate(budget, content, ALICE, due_date=due).json()["created"]
    assert created["earliest_possible_expiration"] == {"date": due, "reason": "DUE_DATE_PASSED"}
    passed = door.allocate(budget, content, BOB, due_date="2026-03-01T12:00:00Z")
    assert (passed.status_code, passed.json()[0]["reason"]) == (422, "deadline_passed")
    assert door.allocate(budget, content, BOB, due_date="soon").status_code == 400


DEADLINE_ISO = "2026-05-31T09:00:00Z"  # 90 days later


def emails(rows: list[dict[str, Any]]) -> list[str]:
    return [row["learner_email"] for row in rows]


def nothing_changed() -> bool:
    reserved = Budget.objects.get().reserved_cents or Account.objects.get().reserved_cents
    return not (LearnerContentAssignment.objects.exists() or reserved)


def test_a_new_assignment_is_answered_with_all_that_clients_read(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    answer = door.allocate(budget, content, ALICE)

    assert answer.status_code == 202
    body = answer.json()
    assert body.pop("joining") == {
        "content_run_key": content.advertised_run,
        "content_price_cents": PRICE,
        "join_by": None,
    }
    assert body.pop("allocation_batch_uuid") == str(AllocationBatch.objects.get().uuid)
    assert {name: len(rows) for name, rows in body.items()} == {
        "created": 1,
        "updated": 0,
        "no_change": 0,
        "recognised": 0,
        "duplicates": 0,
        "dropped": 0,
    }
    [created] = body["created"]
    actions = created.pop("actions")
    assert created == {
        "uuid": str(LearnerContentAssignment.objects.get().uuid),
        "assignment_configuration": str(budget.assignment_configuration_uuid),
        "learner_email": ALICE,
        "lms_user_id": None,
        "content_key": content.content_key,
        "parent_content_key": None,
        "is_assigned_course_run": False,
        "content_title": "Tidal Engines",
        "content_quantity": -PRICE,
        "state": "allocated",
        "transaction_uuid": None,
        "earliest_possible_expiration": {"date": DEADLINE_ISO, "reason": "NINETY_DAYS_PASSED"},
    }
    assert [action["action_type"] for action in actions] == ["allocated", "learner_linked", "notified"]


def test_an_action_is_answered_with_all_that_clients_read(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    [created] = door.allocate(budget, content, ALICE).json()["created"]
    done, pending = created["actions"][0], created["actions"][2]
    uuids = [str(row.uuid) for row in LearnerContentAssignmentAction.objects.timeline()]
    assert done == {
        "created": NOW_ISO,
        "modified": NOW_ISO,
        "uuid": uuids[0],
        "action_type": "allocated",
        "completed_at": NOW_ISO,
        "error_reason": None,
        "status": "done",
        "cause": "",
        "cycle": 1,
    }
    assert pending == {
        "created": NOW_ISO,
        "modified": NOW_ISO,
        "uuid": uuids[2],
        "action_type": "notified",
        "completed_at": None,
        "error_reason": None,
        "status": "pending",
        "cause": "",
        "cycle": 1,
    }


def test_a_run_is_answered_with_its_course(door: Door, budget: Budget, content: ContentMetadata) -> None:
    run = given_content(
        "course-v1:RiversideX+T1+2026", content_type=ContentType.COURSERUN, parent=content, catalog=None
    )
    [created] = door.allocate(budget, run, ALICE).json()["created"]
    assert created["content_key"] == run.content_key
    assert (created["parent_content_key"], created["is_assigned_course_run"]) == (content.content_key, True)


def test_each_address_is_answered_in_its_list_in_the_order_of_the_request(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    [alice] = door.allocate(budget, content, ALICE).json()["created"]
    [bob] = door.allocate(budget, content, BOB).json()["created"]
    door.cancel(budget, bob["uuid"])

    body = door.allocate(budget, content, "zoe@learners.example", CAROL, BOB, ALICE, CAROL.upper()).json()

    assert emails(body["created"]) == ["zoe@learners.example", CAROL]
    assert emails(body["updated"]) == [BOB]
    assert emails(body["no_change"]) == [ALICE]
    assert body["no_change"][0]["uuid"] == alice["uuid"]
    assert body["updated"][0]["actions"][-1]["cycle"] == 2
    assert body["duplicates"] == [
        {
            "position": 4,
            "address": CAROL,
            "verdict": "duplicate",
            "recognised": False,
            "duplicate_of": 1,
            "assignment_uuid": None,
            "assignment": None,
        }
    ]


def test_a_person_known_under_another_address_is_recognised(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    [known] = door.allocate(budget, content, "alice@old.example").json()["created"]
    LearnerContentAssignment.objects.update(lms_user_id=7)
    given_user(email=ALICE, lms_user_id=7)

    body = door.allocate(budget, content, ALICE).json()

    assert [row["uuid"] for row in body["no_change"]] == [known["uuid"]]
    [known_by_other_address] = body["recognised"]
    assert (known_by_other_address["position"], known_by_other_address["assignment_uuid"]) == (
        0,
        known["uuid"],
    )


def test_repeating_a_request_changes_and_costs_nothing(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    first = door.allocate(budget, content, ALICE, BOB)
    again = door.allocate(budget, content, ALICE, BOB)
    assert again.status_code == 202
    created = first.json()["created"]
    assert again.json()["no_change"] == [{**one, "verdict": "already_assigned"} for one in created]
    assert not again.json()["created"]
    assert Budget.objects.get().reserved_cents == 2 * PRICE


def test_over_budget_is_refused_in_the_clients_shape_with_both_figures(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    answer = door.allocate(budget, content, *addresses(11))

    assert answer.status_code == 422
    [refusal] = answer.json()
    assert refusal == {
        "reason": "policy_spend_limit_reached",
        "user_message": f"This costs {dollars(11 * PRICE)}; {dollars(10 * PRICE)} is available.",
        "next_step": "Assign to fewer learners, or have the budget raised.",
        "metadata": {"enterprise_administrators": []},
        "policy_uuids": [str(budget.uuid)],
        "requested_cents": 11 * PRICE,
        "available_cents": 10 * PRICE,
    }
    assert nothing_changed()


def test_a_shared_account_that_is_too_small_is_refused_by_its_own_reason(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    Account.objects.update(limit_cents=PRICE)
    answer = door.allocate(budget, content, ALICE, BOB)
    assert refusal_of(answer) == (422, "not_enough_value_in_subsidy")
    assert answer.json()[0]["available_cents"] == PRICE
    assert nothing_changed()


@pytest.mark.parametrize(
    ("terms", "columns", "reason"),
    [
        ({"active": False}, {}, "policy_expired"),
        ({"retired_at": NOW}, {}, "policy_expired"),
        ({"ends_at": NOW}, {}, "subsidy_expired"),
        ({"starts_at": NOW + timedelta(days=1)}, {}, "subsidy_expired"),
        ({}, {"gone_at": NOW}, "content_not_in_catalog"),
        ({}, {"price_cents": None}, "content_price_unknown"),
        ({}, {"price_cents": 2 * PRICE}, "price_out_of_band"),
        ({}, {"enroll_by": NOW}, "enrollment_not_open_in_time"),
        ({}, {"end_date": NOW}, "content_ended"),
        ({}, {"offered": False}, "content_not_active"),
    ],
    ids=[
        "inactive",
        "retired",
        "over",
        "not begun",
        "gone",
        "price unknown",
        "price far off",
        "too late",
        "ended",
        "not offered",
    ],
)
def test_what_cannot_be_allocated_is_422_in_the_clients_shape(
    door: Door,
    budget: Budget,
    content: ContentMetadata,
    terms: dict[str, object],
    columns: dict[str, object],
    reason: str,
) -> None:
    Budget.objects.filter(pk=budget.pk).update(**terms)
    keys = [content.content_key, content.advertised_run]
    ContentMetadata.objects.filter(content_key__in=keys).update(**columns)

    assert refusal_of(door.allocate(budget, content, ALICE)) == (422, reason)
    assert nothing_changed()

    tried = door.can_allocate(budget, content, ALICE)
    assert tried.status_code == 200
    assert (tried.json()["can_allocate"], [one["reason"] for one in tried.json()["refusals"]]) == (
        False,
        [reason],
    )


def test_bad_addresses_are_named_one_by_one_with_their_positions(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    answer = door.allocate(budget, content, ALICE, "nobody", BOB, "", "a b@learners.example")
    assert refusal_of(answer) == (400, "invalid_addresses")
    body = answer.json()
    assert body["learner_emails"] == {
        "1": ["It has no @."],
        "3": ["There is no address."],
        "4": ["It contains a space: are these two addresses, or a name?"],
    }
    assert body["detail"] == "3 of the addresses cannot be used."
    assert nothing_changed()


def test_a_preview_shows_the_verdicts_the_cost_the_rest_and_the_deadline(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    [alice] = door.allocate(budget, content, ALICE).json()["created"]

    body = door.can_allocate(budget, content, ALICE, BOB, "nobody", BOB.upper(), CAROL).json()
    learners = body.pop("learners")
    assert [one["reason"] for one in body.pop("refusals")] == ["invalid_addresses"]
    assert body.pop("dropped") == []
    assert body == {
        "can_allocate": False,  # for the bad address
        "content_key": content.content_key,
        "cost_cents": 2 * PRICE,
        "remaining_cents": 7 * PRICE,
        "deadline": {"date": DEADLINE_ISO, "reason": "NINETY_DAYS_PASSED"},
        "joining": joining(content),
        "warnings": [],
    }
    assert learners[0] == {
        "position": 0,
        "address": ALICE,
        "verdict": "already_assigned",
        "recognised": False,
        "duplicate_of": None,
        "assignment_uuid": alice["uuid"],
        "assignment": {"uuid": alice["uuid"], "content_key": content.content_key, "state": "allocated"},
        "warnings": [],
    }
    nothing = dict.fromkeys(("duplicate_of", "assignment_uuid", "assignment"))
    invalid = {"position": 2, "address": "nobody", "verdict": "invalid", "problem": "It has no @."}
    assert learners[2] == {**invalid, **nothing, "recognised": False, "warnings": []}
    verdicts = ["already_assigned", "new", "invalid", "duplicate", "new"]
    shown = [(one["position"], one["verdict"], one.get("duplicate_of")) for one in learners]
    assert shown == list(zip(range(5), verdicts, [None, None, None, 1, None], strict=True))


def joining(content: ContentMetadata) -> dict[str, object]:
    """Return what an answer says of joining a course by its advertised run, without a date."""
    return {"content_run_key": content.advertised_run, "content_price_cents": PRICE, "join_by": None}


def test_trying_it_out_changes_nothing(door: Door, budget: Budget, content: ContentMetadata) -> None:
    assert door.can_allocate(budget, content, ALICE, BOB).json()["can_allocate"] is True
    assert nothing_changed()


def test_a_preview_beyond_the_money_shows_both_figures(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    body = door.can_allocate(budget, content, *addresses(11)).json()
    [refusal] = body["refusals"]
    assert (body["can_allocate"], body["remaining_cents"]) == (False, -PRICE)
    assert refusal["reason"] == "policy_spend_limit_reached"
    assert (refusal["requested_cents"], refusal["available_cents"]) == (11 * PRICE, 10 * PRICE)


def test_an_unlimited_budget_has_no_figure_for_what_remains(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    Budget.objects.update(limit_cents=None)
    assert door.can_allocate(budget, content, ALICE).json()["remaining_cents"] is None


def test_trying_out_unknown_content_has_no_deadline(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    body = door.can_allocate(budget, content, ALICE, content_key="not a key").json()
    assert [one["reason"] for one in body["refusals"]] == ["content_not_in_catalog"]
    assert body["deadline"] is None


def test_what_is_tried_out_and_what_is_done_agree(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    asked = [ALICE, BOB, ALICE.upper()]
    tried = door.can_allocate(budget, content, *asked).json()
    done = door.allocate(budget, content, *asked).json()
    verdicts = [one["verdict"] for one in tried["learners"]]
    assert verdicts.count("new") == len(done["created"])
    assert verdicts.count("duplicate") == len(done["duplicates"])
    assert tried["deadline"] == done["created"][0]["earliest_possible_expiration"]
    assert tried["cost_cents"] == Budget.objects.get().reserved_cents


@pytest.mark.parametrize("known", ["not at all", "by a thin record"])
def test_content_that_was_never_seen_whole_waits_for_the_catalog(
    door: Door, budget: Budget, content: ContentMetadata, settings: Any, tmp_path: Any, known: str
) -> None:
    settings.CATALOG_URL = f"file://{tmp_path}/nowhere/"
    asked = {"content_key": "Never+Seen"}
    if known == "by a thin record":
        given_content("Never+Seen", completeness=Completeness.THIN, price_cents=None, with_run=False)
    for answer in (
        door.allocate(budget, content, ALICE, **asked),
        door.can_allocate(budget, content, ALICE, **asked),
    ):
        assert refusal_of(answer) == (503, "catalog_unavailable")
    assert nothing_changed()


def test_content_that_the_catalog_does_not_know_is_refused(
    door: Door, budget: Budget, content: ContentMetadata, settings: Any, tmp_path: Any
) -> None:
    (tmp_path / f"{budget.catalog_uuid}.jsonl").touch()
    settings.CATALOG_URL = f"file://{tmp_path}/"
    answer = door.allocate(budget, content, ALICE, content_key="Never+Seen")
    assert refusal_of(answer) == (422, "content_not_in_catalog")
    assert answer.json()[0]["content_key"] == "Never+Seen"
    assert nothing_changed()
