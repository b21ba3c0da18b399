"""Keys of tokens at a URL: fetched seldom, kept in an outage, gone when the issuer has removed them."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from django.db import transaction
from jwt.algorithms import ECAlgorithm, OKPAlgorithm
from pytest_django import Settings

from bursary.access import signing_keys, tokens
from bursary.access.models import JwkSet
from bursary.access.signing_keys import SigningKeysUnavailable
from bursary.access.tokens import TokenRefused
from tests import issuer
from tests.inserted import inserted_by_another
from tests.issuer import FIRST, SECOND, JwkServer, jwk_server, token
from tests.world import NOW

pytestmark = pytest.mark.django_db

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
LONG = int((NOW + timedelta(days=2)).timestamp())


@pytest.fixture
def server(settings: Settings) -> Iterator[JwkServer]:
    signing_keys._client.cache_clear()  # its breaker remembers the failures of other tests
    with jwk_server() as running:
        settings.JWT_ISSUER, settings.JWT_AUDIENCE = issuer.ISSUER, issuer.AUDIENCE
        settings.JWT_JWK_SET_URL = running.url
        yield running


def outcome(kid: str = FIRST, *, now: datetime = NOW, named: bool = True) -> str:
    """Return the user name of a token signed with that key, or why it is refused."""
    try:
        return tokens.verified_claims(token(kid=kid, named=named, exp=LONG), now=now).username
    except (TokenRefused, SigningKeysUnavailable) as refused:
        return str(refused.reason)


def test_keys_are_fetched_once_and_kept(server: JwkServer) -> None:
    assert [outcome(now=NOW + MINUTE * n) for n in range(60)] == ["ada"] * 60
    assert server.asked == 1
    assert signing_keys.parse(JwkSet.objects.get().keys)


@pytest.mark.on_every_engine
def test_keys_that_another_process_is_about_to_fetch_are_accepted(
    server: JwkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = inserted_by_another(monkeypatch, signing_keys)

    assert (outcome(), len(met), JwkSet.objects.count()) == ("ada", 1, 1)


@pytest.mark.parametrize("named", [True, False])
def test_a_key_that_is_not_known_is_fetched_at_most_once_a_minute(server: JwkServer, named: bool) -> None:
    outcome()
    refused = "token_key_unknown" if named else "token_signature_wrong"
    server.kids = (FIRST, SECOND)

    assert [outcome(SECOND, named=named, now=NOW + timedelta(seconds=n)) for n in (1, 30, 59)] == [
        refused
    ] * 3
    assert server.asked == 1
    assert outcome(SECOND, named=named, now=NOW + MINUTE) == "ada"
    assert server.asked == 2


def test_a_key_that_the_issuer_has_removed_is_refused_within_the_hour(server: JwkServer) -> None:
    outcome()
    server.kids = (SECOND,)
    assert outcome(now=NOW + HOUR - MINUTE) == "ada"
    assert outcome(now=NOW + HOUR) == "token_key_unknown"


def test_an_outage_of_an_hour_refuses_no_token_of_a_known_key(server: JwkServer) -> None:
    outcome()
    server.kids = ()
    moments = [NOW + HOUR + MINUTE * n for n in range(61)]

    assert {outcome(now=moment) for moment in moments} == {"ada"}
    assert outcome(SECOND, now=moments[-1]) == "token_key_unknown"
    assert server.asked <= 1 + 61
    server.kids = (SECOND,)
    signing_keys._client.cache_clear()  # as the breaker's half a minute passes
    assert outcome(SECOND, now=moments[-1] + MINUTE) == "ada"


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"keys": []}', "<html>", '{"keys": [{"kty": "oct", "k": "eA"}]}']
)
def test_an_answer_without_keys_leaves_the_last_good_ones(server: JwkServer, body: str) -> None:
    outcome()
    server.body = body
    assert outcome(now=NOW + HOUR) == "ada"
    assert server.asked == 2


def test_before_any_key_was_read_no_token_is_refused_or_accepted(server: JwkServer) -> None:
    server.kids = ()
    assert outcome() == outcome(now=NOW + timedelta(seconds=59)) == "signing_keys_unavailable"
    assert server.asked == 1
    server.kids = (FIRST,)
    assert outcome(now=NOW + MINUTE) == "ada"


@pytest.mark.on_every_engine
def test_keys_are_never_fetched_inside_a_transaction(server: JwkServer) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError):
        outcome()
    assert server.asked == 0


@pytest.mark.on_every_engine
def test_one_process_fetches_for_all(server: JwkServer) -> None:
    outcome()
    JwkSet.objects.update(lease_until=NOW + HOUR * 2, due_at=NOW + HOUR * 2)
    assert outcome(now=NOW + HOUR) == "ada"
    assert server.asked == 1


def algorithms(*jwks: dict[str, object]) -> list[tuple[str, ...]]:
    return [key.algorithms for key in signing_keys.parse(json.dumps({"keys": jwks}))]


def test_the_kind_of_a_key_fixes_its_algorithm() -> None:
    rsa = json.loads(issuer.jwk_set(FIRST))["keys"][0]
    curve = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
    edwards = OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate().public_key(), as_dict=True)
    private = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)

    assert algorithms(rsa, curve, edwards) == [("RS256", "RS384", "RS512"), ("ES256",), ("EdDSA",)]
    assert algorithms(rsa | {"alg": "RS512"}) == [("RS512",)]
    unusable = [
        {"kty": "oct", "k": "c2VjcmV0"},
        rsa | {"alg": "HS256"},
        rsa | {"use": "enc"},
        rsa | {"n": "!"},
        rsa | {"kid": 7},
        curve | {"crv": "secp256k1"},
        private,
    ]
    assert algorithms(*unusable) == []
