"""A Python client is generated from the description, without a warning, and goes through both journeys.

`make client` installs the generator, in an environment of its own, with the versions in
`python/requirements.txt`.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from pytest_django.live_server_helper import LiveServer

from bursary.access.models import Role
from tests.docs.pages import ROOT
from tests.elapsed import PATIENCE
from tests.world import ALICE, given_api_key, given_budget, given_content, given_user

HERE = Path(__file__).parent / "python"
BIN = ROOT / ".venv" / "client" / "bin"


def run(*command: str, folder: Path, sent: str = "") -> None:
    ran = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.defpath, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        input=sent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout


@pytest.mark.skipif(
    not BIN.is_dir(), reason="`make client` installs a generator of clients from the description"
)
@pytest.mark.takes_long
@pytest.mark.sqlite_only
@pytest.mark.django_db(transaction=True)
def test_a_generated_client_goes_through_an_administrators_and_a_learners_journey(
    live_server: LiveServer, tmp_path: Path
) -> None:
    described = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # has none
    (tmp_path / "schema.json").write_bytes(OpenApiJsonRenderer().render(described))
    options = ("--path", "schema.json", "--config", str(HERE / "generator.yaml"), "--fail-on-warning")
    where = ("--meta", "none", "--output-path", "bursary_client")
    run(str(BIN / "openapi-python-client"), "generate", *options, *where, folder=tmp_path)
    budget, course = given_budget(seats=10), given_content(partners=[{"name": "Riverside School"}])
    administrator = given_user(Role.ADMINISTRATOR, customer=budget.customer, lms_user_id=1)
    learner = given_user(Role.LEARNER, customer=budget.customer, lms_user_id=7, email=ALICE)
    given = {
        "url": live_server.url,
        "paths": {
            path: {method: {"operationId": one["operationId"]} for method, one in methods.items()}
            for path, methods in described["paths"].items()
        },
        "policy": str(budget.uuid),
        "configuration": str(budget.assignment_configuration_uuid),
        "customer": str(budget.customer.uuid),
        "course": course.content_key,
        "learner": ALICE,
        "keys": {"administrator": given_api_key(administrator), "learner": given_api_key(learner)},
    }
    run(str(BIN / "python"), str(HERE / "journeys.py"), folder=tmp_path, sent=json.dumps(given))
