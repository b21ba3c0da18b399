"""Wrong passwords are limited on every page that asks for one: by name at an address, by name, by address."""

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import PermissionDenied
from django.test import Client, RequestFactory
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from bursary.access import sign_in_limits
from bursary.access.models import Role, SignInFailures, User
from bursary.access.sign_in_limits import MAX_OF_NAME_AT_ADDRESS, WINDOW, LimitedBackend
from bursary.ops import erasure_runs, scheduler
from tests import world
from tests.together import together

pytestmark = pytest.mark.django_db

RIGHT, WRONG = "a pass phrase of ada's", "not it"
SIGN_IN, ADMIN = "/sign-in/", "/admin/login/"
HERE, THERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
def max_of_name(monkeypatch: pytest.MonkeyPatch) -> int:
    """Lower the limit of a name; return it."""
    assert sign_in_limits.MAX_OF_NAME == 100
    monkeypatch.setattr(sign_in_limits, "MAX_OF_NAME", 20)
    return 20


@pytest.fixture
def max_of_address(monkeypatch: pytest.MonkeyPatch) -> int:
    """Lower the limit of an address; return it."""
    assert sign_in_limits.MAX_OF_ADDRESS == 100
    monkeypatch.setattr(sign_in_limits, "MAX_OF_ADDRESS", 20)
    return 20


@pytest.fixture
def ada() -> User:
    user = world.given_user(
        Role.ADMINISTRATOR, customer=world.given_customer(), username="ada", is_staff=True, email=world.ALICE
    )
    user.set_password(RIGHT)
    user.save()
    return user


def attempt(name: str, password: str = WRONG, *, at: str = HERE, door: str = SIGN_IN) -> Any:
    return Client().post(door, {"username": name, "password": password}, REMOTE_ADDR=at)


def signs_in(name: str, *, at: str, door: str = SIGN_IN) -> bool:
    return bool(attempt(name, RIGHT, at=at, door=door).status_code == 302)


def fail(times: int, *, names: Iterator[str], addresses: Iterator[str]) -> None:
    """Fail as a page would, without one: a page takes ten times as long."""
    for name, address, _ in zip(names, addresses, range(times), strict=False):
        request = RequestFactory().post(SIGN_IN, REMOTE_ADDR=address)
        with pytest.raises(PermissionDenied):
            LimitedBackend().authenticate(request, username=name, password=WRONG)


def always(one: str) -> Iterator[str]:
    while True:
        yield one


def ever(pattern: str) -> Iterator[str]:
    number = 0
    while True:
        yield pattern.format(number // 250, number % 250)
        number += 1


@pytest.mark.on_every_engine
@pytest.mark.parametrize("door", [SIGN_IN, ADMIN])
def test_after_ten_wrong_passwords_none_is_checked_for_this_name_at_this_address(
    ada: User, door: str
) -> None:
    for _ in range(MAX_OF_NAME_AT_ADDRESS):
        assert attempt("ada", door=door).status_code == 200
    refused = attempt("ada", RIGHT, door=door)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) == pytest.approx(WINDOW.total_seconds(), abs=60)
    page = html.unescape(refused.content.decode())
    assert "Try again in 30 minutes." in page
    assert 'href="/forgotten-password/"' in page

    assert not signs_in("ada", at=HERE, door=ADMIN if door == SIGN_IN else SIGN_IN)
    assert signs_in("ada", at=THERE, door=door)


def test_very_many_wrong_passwords_from_one_address_lock_it_and_no_other(
    ada: User, max_of_address: int
) -> None:
    fail(2 * max_of_address, names=ever("name-{}-{}"), addresses=always(HERE))

    assert attempt("ben").status_code == 429
    assert signs_in("ada", at=THERE)
    # Each name that was tried, it at the address, and the address: what is locked is not counted.
    assert SignInFailures.objects.count() == 2 * max_of_address + 1


def test_very_many_wrong_passwords_for_one_name_lock_it_everywhere_and_no_other(
    ada: User, max_of_name: int
) -> None:
    other = world.given_user(username="ben", email="ben@larkspur.example")
    other.set_password(RIGHT)
    other.save()
    fail(2 * max_of_name, names=always("ada"), addresses=ever("203.0.{}.{}"))

    assert attempt("ada", RIGHT, at=THERE).status_code == 429
    assert signs_in("ben", at="203.0.0.1")
    # Each address that was tried, the name at it, and the name.
    assert SignInFailures.objects.count() == 2 * max_of_name + 1


def test_addresses_of_one_network_of_a_client_are_one(ada: User) -> None:
    fail(MAX_OF_NAME_AT_ADDRESS, names=always("ada"), addresses=ever("2001:db8:1:1::{}:{}"))
    assert attempt("ada", RIGHT, at="2001:db8:1:1:ffff::1").status_code == 429
    assert signs_in("ada", at="2001:db8:1:2::1")


def test_a_name_that_there_is_not_is_answered_and_locked_as_one_that_there_is(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    encode = MD5PasswordHasher.encode

    def counted(hasher: MD5PasswordHasher, password: str, salt: str) -> str:
        hashed.append(password)
        return str(encode(hasher, password, salt))

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    seen = {}
    for name, address in (("ada", HERE), ("nobody-of-this-name", THERE)):
        hashed.clear()
        answers = [attempt(name, at=address) for _ in range(MAX_OF_NAME_AT_ADDRESS + 2)]
        bodies = [re.sub(r'value="[^"]*"', "", one.content.decode()) for one in answers]
        seen[name] = ([one.status_code for one in answers], bodies, len(hashed))
    first, second = seen.values()
    assert first == second
    assert first[2] == MAX_OF_NAME_AT_ADDRESS  # and none while locked


@pytest.mark.on_every_engine
def test_a_lock_ends_half_an_hour_after_the_first_failure(ada: User) -> None:
    with time_machine.travel(datetime(2026, 11, 2, 9, tzinfo=UTC), tick=False) as clock:
        fail(MAX_OF_NAME_AT_ADDRESS, names=always("ada"), addresses=always(HERE))
        clock.shift(WINDOW - timedelta(seconds=61))
        assert "Try again in 2 minutes." in attempt("ada", RIGHT).content.decode()  # prolongs nothing
        clock.shift(timedelta(seconds=61))
        assert signs_in("ada", at=HERE)


def test_the_right_password_forgets_what_was_wrong_before_of_the_name_not_of_the_address(ada: User) -> None:
    fail(MAX_OF_NAME_AT_ADDRESS - 1, names=always("ada"), addresses=always(HERE))
    assert signs_in("ada", at=HERE)
    assert [one.failures for one in SignInFailures.objects.all()] == [MAX_OF_NAME_AT_ADDRESS - 1]
    fail(MAX_OF_NAME_AT_ADDRESS - 1, names=always("ada"), addresses=always(HERE))
    assert signs_in("ada", at=HERE)


def test_the_present_password_is_a_door_too(ada: User) -> None:
    client = Client()
    client.force_login(ada)
    fields = {"old_password": WRONG, "new_password1": "any at all", "new_password2": "any at all"}
    statuses = [client.post("/account/password/", fields).status_code for _ in range(11)]
    assert statuses == [200] * MAX_OF_NAME_AT_ADDRESS + [429]


def test_a_new_password_by_mail_ends_the_lock(ada: User, max_of_address: int) -> None:
    fail(max_of_address + 1, names=ever("name-{}-{}"), addresses=always(HERE))
    assert attempt("ada", RIGHT).status_code == 429

    uid, token = urlsafe_base64_encode(force_bytes(ada.pk)), default_token_generator.make_token(ada)
    browser = Client(REMOTE_ADDR=HERE)
    form = browser.get(f"/new-password/{uid}/{token}/", follow=True).redirect_chain[-1][0]
    browser.post(form, {"new_password1": f"{RIGHT} anew", "new_password2": f"{RIGHT} anew"})
    assert attempt("ada", f"{RIGHT} anew").status_code == 302


def test_keys_are_not_limited(ada: User, max_of_address: int) -> None:
    fail(max_of_address + 1, names=ever("name-{}-{}"), addresses=always("127.0.0.1"))
    headers = {"authorization": f"Bearer {world.given_api_key(ada)}"}
    assert Client().get("/api/v1/subsidy-access-policies/", headers=headers).status_code == 200


def test_a_session_of_before_goes_on(ada: User) -> None:
    client = Client()
    client.force_login(ada, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get("/account/").status_code == 200


@pytest.mark.on_every_engine
def test_names_and_addresses_are_in_no_row_and_what_lapsed_is_deleted_by_the_task(ada: User) -> None:
    fail(1, names=always("ada"), addresses=always(HERE))
    rows = str(list(SignInFailures.objects.values_list()))
    assert "ada" not in rows
    assert HERE not in rows

    [task] = [one for one in scheduler.TASKS if one.name == "privacy"]
    assert task.run(lambda: timezone.now() + WINDOW - timedelta(minutes=1))["sign_in_failures"] == 0
    assert task.run(lambda: timezone.now() + WINDOW)["sign_in_failures"] == 3
    assert not SignInFailures.objects.exists()


def test_what_is_counted_of_a_name_is_forgotten_with_the_person(ada: User) -> None:
    fail(1, names=always("ada"), addresses=always(HERE))
    assert erasure_runs.forget(world.ALICE, now=timezone.now())["complete"]
    assert SignInFailures.objects.count() == 2  # of the address; and of both, which names neither


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
def test_failures_at_the_same_time_are_all_counted(ada: User) -> None:
    def one() -> None:
        fail(1, names=always("ada"), addresses=always(HERE))

    assert together([one] * 8) == [None] * 8
    assert {one.failures for one in SignInFailures.objects.all()} == {8}
