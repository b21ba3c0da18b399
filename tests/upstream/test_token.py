from collections.abc import Callable

import pytest

from bursary.lib.breaker import BreakerState
from bursary.upstream import client as http
from bursary.upstream.client import Client
from bursary.upstream.errors import (
    Outage,
    UnreadableAnswer,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from bursary.upstream.token import ClientCredentials, Tokens
from tests.elapsed import AT_ONCE, taking_at_most
from tests.enterprise_catalog import faults
from tests.enterprise_catalog.faults import Fault
from tests.enterprise_catalog.server import CLIENT_ID, CLIENT_SECRET, Upstream
from tests.together import together
from tests.upstream.conftest import HURRIED

ONE = "/api/v1/content-metadata/X%2B1/"

Make = Callable[..., Client]


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def tokens_of(upstream: Upstream, clock: Clock) -> Tokens:
    credentials = ClientCredentials(upstream.url, CLIENT_ID, CLIENT_SECRET)
    return Tokens(credentials, post_form=http.post_form, clock=clock)


def current(tokens: Tokens) -> str:
    return http._portal().call(tokens.current)


def test_a_token_is_kept_until_near_its_end(upstream: Upstream) -> None:
    clock = Clock()
    tokens = tokens_of(upstream, clock)
    first = current(tokens)
    clock.seconds += 3539
    assert current(tokens) == first

    clock.seconds += 1

    assert current(tokens) != first


@pytest.mark.parametrize(
    ("lifetime", "seconds"),
    [
        ("40", 30),
        ("null", 240),
        ('"soon"', 240),
        ("true", 240),
        ("1e300", 86_340),
        ("-5", 1),
        ("0", 1),
        ("NaN", 240),
        ("1" + "0" * 400, 86_340),
    ],
)
def test_a_strange_lifetime_is_read_as_well_as_possible(
    upstream: Upstream, lifetime: str, seconds: float
) -> None:
    clock = Clock()
    tokens = tokens_of(upstream, clock)
    answer = '{"access_token": "abc", "expires_in": %s}' % lifetime  # noqa: UP031  # braces of its own
    upstream.fails_with(faults.text(answer.encode()), path="oauth2")

    current(tokens)
    clock.seconds = seconds - 0.5
    current(tokens)
    assert len(upstream.requests) == 1
    clock.seconds = seconds
    current(tokens)

    assert len(upstream.requests) == 2


def test_it_is_asked_for_in_the_platforms_form(upstream: Upstream, client: Make) -> None:
    client().get(ONE)

    [fetched] = upstream.asked("/oauth2/access_token")
    assert fetched.method == "POST"
    assert fetched.body.decode() == (
        f"grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}&token_type=jwt"
    )


def test_threads_that_start_together_fetch_one(upstream: Upstream, client: Make) -> None:
    asking = client()
    upstream.fails_with(faults.slow(0.1), path="oauth2")

    answers = together([lambda: asking.get(ONE)] * 8)

    assert all(isinstance(answer, dict) for answer in answers)
    assert len(upstream.asked("oauth2")) == 1


def test_a_call_that_waits_for_a_token_waits_no_longer_than_allowed(upstream: Upstream, client: Make) -> None:
    asking = client(deadline=HURRIED)
    upstream.fails_with(faults.hang, path="oauth2")

    with taking_at_most(AT_ONCE):
        failures = together([lambda: asking.get(ONE)] * 4)

    assert {getattr(failure, "reason", "") for failure in failures} == {Outage.DEADLINE_EXCEEDED}


def test_a_revoked_token_is_replaced_once(upstream: Upstream, client: Make) -> None:
    asking = client()
    asking.get(ONE)
    upstream.revoke_tokens()

    assert asking.get(ONE)
    assert asking.get(ONE)

    assert [asked.path for asked in upstream.requests].count("/oauth2/access_token") == 2
    assert len(upstream.asked("content-metadata")) == 4


def test_a_new_token_that_is_refused_too_ends_it(upstream: Upstream, client: Make) -> None:
    upstream.fails_with(faults.status(401))

    with pytest.raises(UpstreamRefused) as refused:
        client().get(ONE)

    assert (refused.value.reason, refused.value.status) == ("unauthorized", 401)
    assert len(upstream.asked("oauth2")) == 2
    assert len(upstream.asked("content-metadata")) == 2


def test_wrong_credentials_are_named_kept_secret_and_not_tried_for_ever(
    upstream: Upstream, client: Make
) -> None:
    wrong = "not-the-secret"
    asking = client(credentials=ClientCredentials(upstream.url, CLIENT_ID, wrong))
    failures: list[str] = []
    for _ in range(7):
        with pytest.raises(UpstreamError) as failed:
            asking.get(ONE)
        failures.append(failed.value.reason)
        assert wrong not in str(failed.value)

    assert failures == ["credentials_refused"] * 5 + [Outage.CIRCUIT_OPEN] * 2
    assert asking.breaker.state is BreakerState.OPEN
    assert len(upstream.requests) == 5
    assert wrong not in repr(ClientCredentials(upstream.url, CLIENT_ID, wrong))


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (faults.status(503), UpstreamUnavailable),
        (faults.drip, UpstreamUnavailable),
        (faults.huge, UnreadableAnswer),
        (faults.text(b"[]"), UnreadableAnswer),
        (faults.text(b'{"access_token": null}'), UnreadableAnswer),
        (faults.text(b'{"access_token": "two\\r\\nlines"}'), UnreadableAnswer),
        (faults.status(302), UpstreamRefused),
    ],
)
def test_an_endpoint_that_fails_fails_the_call(
    upstream: Upstream, client: Make, fault: Fault, kind: type[UpstreamError]
) -> None:
    upstream.fails_with(fault, path="oauth2")

    with pytest.raises(kind):
        client(deadline=HURRIED, attempts=1).get(ONE)
    assert upstream.asked("content-metadata") == []
