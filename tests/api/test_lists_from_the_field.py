"""Addresses and lists that went wrong in the field, sent to the API, and what is mailed in the end."""

from typing import Any

import pytest

from bursary.access.models import learner_key
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests import world
from tests.api.door import Door, refusal_of
from tests.assignments.test_pasted_lists import CASES as LISTS
from tests.assignments.test_pasted_lists import EXPECTED
from tests.lib.test_mailbox import CASES as ADDRESSES
from tests.smtp import MailServer

pytestmark = pytest.mark.django_db

NO_ADDRESSES = {"jane@[192.168.0.1]", "jane@localhost", "jane doe@larkspur.example"}
"""What web forms refuse, too. The others come back as a rule's refusal, which their clients can read."""
REFUSED = [case for case in ADDRESSES if case["outcome"] == "refused"]
USABLE = [case for case in ADDRESSES if case["outcome"] != "refused"]


def test_a_refused_address_is_named_with_the_reason_and_nothing_is_allocated(
    door: Door, budget: Budget, content: ContentMetadata, subtests: pytest.Subtests
) -> None:
    for case in REFUSED:
        with subtests.test(ascii(case["input"])):
            answer = door.allocate(budget, content, world.BOB, case["input"])
            status = 400 if case["input"] in NO_ADDRESSES else 422
            assert refusal_of(answer) == (status, "invalid_addresses")
            body = answer.json() if status == 400 else answer.json()[0]
            [[reason]] = body["learner_emails"].values()
            [bob, bad] = door.can_allocate(budget, content, world.BOB, case["input"]).json()["learners"]
            assert (bob["verdict"], bad["verdict"], bad["problem"]) == ("new", "invalid", reason)
            assert not LearnerContentAssignment.objects.exists()


def test_a_list_with_something_that_is_no_address_is_malformed_as_a_whole(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    answer = door.allocate(budget, content, "ünï@larkspur.example", "jane")
    assert refusal_of(answer) == (400, "invalid_addresses")
    assert sorted(answer.json()["learner_emails"]) == ["0", "1"]


def test_an_invisible_character_is_named(door: Door, budget: Budget, content: ContentMetadata) -> None:
    answer = door.allocate(budget, content, "an\u200ena@larkspur.example")
    assert answer.json()[0]["learner_emails"] == {"0": ["It contains U+200E LEFT-TO-RIGHT MARK."]}


def test_an_accepted_address_is_one_learner_is_mailed_as_it_is_keyed_and_is_found_as_it_was_typed(
    door: Door, content: ContentMetadata, budget: Budget, mail: MailServer, subtests: pytest.Subtests
) -> None:
    budgets = [world.given_budget(customer=budget.customer) for _case in USABLE]
    allocated: list[LearnerContentAssignment] = []
    for budget, case in zip(budgets, USABLE, strict=True):
        typed, expected = case["input"], expected_of(case)
        with subtests.test(ascii(typed)):
            [learner] = door.can_allocate(budget, content, typed).json()["learners"]
            assert (learner["verdict"], learner["address"]) == ("new", expected)
            [created] = door.allocate(budget, content, typed).json()["created"]
            [unchanged] = door.allocate(budget, content, expected).json()["no_change"]
            assert created["uuid"] == unchanged["uuid"]
            allocated.append(LearnerContentAssignment.objects.get(budget=budget))

    world.deliver()

    for assignment, case in zip(allocated, USABLE, strict=True):
        typed, expected = case["input"], expected_of(case)
        with subtests.test(ascii(typed)):
            assert assignment.mailbox_key == assignment.learner_key == learner_key(expected)
            for written in (typed, expected, expected.upper()):
                assert door.assignments(assignment.budget, learner_email=written).json()["count"] == 1
            listed = door.assignments(assignment.budget, learner_email__in=f"{world.BOB},{typed}")
            assert listed.json()["count"] == 1
    mailed = [address for case in USABLE if not (address := expected_of(case)).endswith(".invalid")]
    assert sorted(sent["To"] for sent in mail.received) == sorted(mailed)
    keys = [one.mailbox_key for one in allocated if one.learner_email in mailed]
    assert sorted(learner_key(sent["To"]) for sent in mail.received) == sorted(map(str, keys))


def expected_of(case: dict[str, Any]) -> str:
    """Return the address as it is kept and mailed."""
    return str(case.get("key_as", case["input"]))


def test_a_preview_warns_of_the_addresses_to_be_warned_of_and_of_no_other(
    door: Door, budget: Budget, content: ContentMetadata, subtests: pytest.Subtests
) -> None:
    for case in USABLE:
        with subtests.test(ascii(case["input"])):
            seen = door.can_allocate(budget, content, world.BOB, case["input"]).json()

            [bob, learner] = seen["learners"]
            assert (seen["can_allocate"], bob["warnings"]) == (True, [])
            warned = case["outcome"] == "warned"
            assert len(learner["warnings"]) == len(seen["warnings"]) == int(warned)
            for one in [*learner["warnings"], *seen["warnings"]]:
                expected = {"gmial.com": "domain_mistyped"}.get(case["input"][-9:], "domain_reserved")
                assert one["code"] == expected
                assert one["user_message"]
                assert one["next_step"]
            if case["input"].endswith("@gmial.com"):
                assert learner["warnings"][0]["suggestion"] == "marta@gmail.com"


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("whole", [True, False], ids=["one item", "an item a line"])
def test_a_pasted_list_is_its_people_and_its_names_are_answered_as_dropped(
    door: Door, budget: Budget, content: ContentMetadata, name: str, whole: bool
) -> None:
    text, (people, dropped) = LISTS[name], EXPECTED[name]
    items = [text] if whole else text.splitlines()

    tried = door.can_allocate(budget, content, *items).json()
    done = door.allocate(budget, content, *items).json()

    assert [one["address"] for one in tried["learners"]] == people
    assert [row["learner_email"] for row in done["created"]] == people
    for answer in (tried, done):
        assert [one["text"] for one in answer["dropped"]] == dropped


def test_an_only_column_of_managers_is_read_and_the_answer_says_so(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    items = ["Name;Manager e-mail", "Jane;m@larkspur.example"]
    tried = door.can_allocate(budget, content, *items).json()
    done = door.allocate(budget, content, *items).json()
    assert [one["address"] for one in tried["learners"]] == ["m@larkspur.example"]
    assert [answer["read_column"] for answer in (tried, done)] == ["Manager e-mail"] * 2
    assert "read_column" not in door.can_allocate(budget, content, world.BOB).json()


def test_what_is_wrong_in_a_list_is_named_by_the_position_of_its_item(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    items = ["E-mail", f"Alice <{world.ALICE}>; Bob <{world.BOB}>", "carol"]
    answer = door.allocate(budget, content, *items)
    assert answer.json()["learner_emails"] == {"2": ["It has no @."]}
    learners = door.can_allocate(budget, content, *items[:2], world.ALICE).json()["learners"]
    assert [(one["position"], one["verdict"], one.get("duplicate_of")) for one in learners] == [
        (1, "new", None),
        (1, "new", None),
        (2, "duplicate", 1),
    ]


def test_all_that_is_wrong_in_one_item_is_named_with_its_text(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    answer = door.allocate(budget, content, f"carol; {world.ALICE}; @x.example").json()
    reasons = ["“carol”: It has no @.", "“@x.example”: There is nothing before the @."]
    assert (answer["detail"], answer["learner_emails"]) == (
        "2 of the addresses cannot be used.",
        {"0": reasons},
    )
    [refused] = door.can_allocate(budget, content, "carol; @x.example").json()["refusals"]
    assert refused["learner_emails"] == {"0": reasons}


def test_a_preview_with_only_a_bad_address_is_refused_for_it(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    seen = door.can_allocate(budget, content, "carol").json()
    [refused] = seen["refusals"]
    assert (seen["can_allocate"], refused["reason"]) == (False, "invalid_addresses")
    assert refused["user_message"] == "1 of the addresses cannot be used."
    assert refused["next_step"] == "Correct the addresses."
    assert refused["policy_uuids"] == [str(budget.uuid)]
    [valid] = door.can_allocate(budget, content, world.ALICE).json()["learners"]
    assert seen["learners"][0].keys() == {*valid, "problem"}


def test_an_address_in_another_column_is_answered_with_the_name_of_the_column_and_not_allocated(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    items = ["Name;E-Mail;Manager", f"Doe, Alice;{world.ALICE};{world.BOB}"]
    tried = door.can_allocate(budget, content, *items).json()
    done = door.allocate(budget, content, *items).json()
    assert [row["learner_email"] for row in done["created"]] == [world.ALICE]
    for answer in (tried, done):
        assert answer["dropped"] == [
            {"position": 0, "text": "Name;E-Mail;Manager", "column": None},
            {"position": 1, "text": "Doe, Alice", "column": None},
            {"position": 1, "text": world.BOB, "column": "Manager"},
        ]
