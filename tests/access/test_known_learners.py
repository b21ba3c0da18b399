"""The LMS user behind an address, where one is known."""

import pytest
from pytest_django import DjangoAssertNumQueries

from bursary.access import known_learners
from bursary.access.models import User, learner_key
from tests.world import ALICE, BOB, CAROL, addresses, given_user

pytestmark = pytest.mark.django_db


def lms_user_ids(*keys: str) -> dict[str, int | None]:
    return {key: known.lms_user_id for key, known in known_learners.by_keys(keys).items()}


def test_a_learner_with_an_account_is_known_by_their_address_however_it_is_written() -> None:
    given_user(email=ALICE.upper(), lms_user_id=7)
    assert lms_user_ids(learner_key(f" {ALICE}")) == {learner_key(ALICE): 7}


def test_no_learner_is_known_without_an_account_in_the_lms() -> None:
    given_user(email=ALICE)
    given_user(email="", lms_user_id=8)
    given_user(email=CAROL, lms_user_id=9)
    assert set(lms_user_ids(learner_key(ALICE), learner_key(BOB), learner_key("")).values()) == {None}


def test_only_the_learners_asked_for_are_returned() -> None:
    given_user(email=ALICE, lms_user_id=7)
    given_user(email=BOB, lms_user_id=8)
    assert lms_user_ids(learner_key(BOB)) == {learner_key(BOB): 8}


def test_many_are_asked_for_in_a_few_queries(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    monkeypatch.setattr(known_learners, "KEYS_PER_QUERY", 4)
    keys = [learner_key(address) for address in addresses(10)]
    User.objects.bulk_create(
        User(username=key, email=f"{number}@x.example", learner_key=key, lms_user_id=number)
        for number, key in enumerate(keys)
    )
    with django_assert_num_queries(3):
        known = lms_user_ids(*keys)
    assert known == {key: number for number, key in enumerate(keys)}


def test_for_no_learner_there_is_no_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        assert known_learners.by_keys([]) == {}
