"""Both clients' journeys by their own transport, in Node, against a served instance, preflights included.

`make node` installs it, with the versions in `node/package-lock.json`.
"""

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from bursary.access.models import ExternalIdentity, Role, User
from tests.elapsed import PATIENCE, until
from tests.issuer import AUDIENCE, FIRST, ISSUER, jwk_set, token
from tests.ops.processes import database_url, environment, start
from tests.ops.test_serving import answers
from tests.world import ALICE, given_budget, given_content, given_user

NODE = Path(__file__).parent / "node"
ORIGIN, STRANGER = "http://127.0.0.1:1991", "http://127.0.0.1:1992"
INSTALLED = bool(shutil.which("node")) and (NODE / "node_modules").is_dir()


def signed_now(user: User, role: str) -> str:
    """Return the token of the user after a sign-in at the LMS a moment ago."""
    now = int(time.time())
    ExternalIdentity.objects.create(user=user, issuer=ISSUER, username=user.username)
    return token(
        preferred_username=user.username,
        user_id=user.lms_user_id,
        email=user.email,
        roles=[role],
        iat=now - 60,
        exp=now + 3600,
    )


def given(url: str) -> dict[str, Any]:
    """Return what the script is given: an organisation with two courses, and both people's tokens."""
    budget = given_budget(seats=10)
    customer, partners = budget.customer, [{"name": "Riverside School"}]
    administrator = given_user(Role.ADMINISTRATOR, customer=customer, lms_user_id=1)
    alice = given_user(Role.LEARNER, customer=customer, lms_user_id=7, email=ALICE)
    return {
        "url": url,
        "origin": ORIGIN,
        "stranger": STRANGER,
        "customer": str(customer.uuid),
        "slug": customer.slug,
        "policy": str(budget.uuid),
        "configuration": str(budget.assignment_configuration_uuid),
        "course": given_content(partners=partners).content_key,
        "other": given_content(partners=partners).content_key,
        "learnerEmail": ALICE,
        "administrator": signed_now(administrator, f"enterprise_admin:{customer.uuid}"),
        "learner": signed_now(alice, f"enterprise_learner:{customer.uuid}"),
    }


@pytest.mark.skipif(
    not INSTALLED, reason="`make node` installs the clients' transport; it needs Node.js 20.19"
)
@pytest.mark.takes_long
@pytest.mark.sqlite_only
@pytest.mark.django_db(transaction=True)
def test_an_administrator_and_a_learner_go_through_their_days_with_the_clients_transport(
    tmp_path: Path, port: int
) -> None:
    (tmp_path / "secret.key").write_text("a-key-of-tests-that-signs-nothing-else")
    env = environment(
        tmp_path,
        PORT=str(port),
        BURSARY_DATABASE_URL=database_url(),
        BURSARY_CLIENT_ORIGINS=ORIGIN,
        BURSARY_JWT_ISSUER=ISSUER,
        BURSARY_JWT_AUDIENCE=AUDIENCE,
        BURSARY_JWT_JWK_SET=jwk_set(FIRST),
        BURSARY_CLOCK="none",
    )
    instructions = json.dumps(given(f"http://127.0.0.1:{port}"))
    server = start("serve", env=env)
    try:
        until(lambda: answers(port, "/healthz") == 200, server)
        ran = subprocess.run(
            ["node", str(NODE / "journeys.mjs")],
            input=instructions,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        server.kill()
        server.wait()
    assert ran.returncode == 0, ran.stderr
    sent = json.loads(ran.stdout)
    # Each request asks first: a header of theirs is not a simple one.
    assert sent["OPTIONS"] >= sent["GET"] + sent["POST"] - 2, sent
