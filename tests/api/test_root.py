"""The API's own address says what there is, and what the caller may do; the README's first call works."""

import json
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_django.live_server_helper import LiveServer

from bursary.access.models import ApiKey, KeyScope, Role
from bursary.access.permissions import KEY_SCOPES, PERMISSIONS
from bursary.api import urls
from bursary.budgets.models import Budget
from tests.api.door import Door
from tests.docs.pages import page
from tests.world import NOW, given_api_key, given_budget, given_customer, given_user

CALLS = re.findall(r"^(?:(?:API|KEY)=|known\(\)|curl ).*$", page("README.md"), re.MULTILINE)


@pytest.mark.django_db
def test_each_address_is_linked_by_name_with_what_it_does(budget: Budget) -> None:
    links = Door().get("").json()["links"]
    named = {one.name for one in urls.urlpatterns if one.name}
    assert set(links) == named | {"transactions"}
    assert all(link["does"] and link["methods"] for link in links.values()), links
    assert links["policy"]["does"] == "Read one budget, with its amounts"
    door = Door(key=given_api_key(given_user(Role.ADMINISTRATOR, customer=budget.customer)))
    href = links["policy"]["href"].replace("{policy_uuid}", str(budget.uuid))
    assert door.client.get(href).status_code == 200


@pytest.mark.django_db
def test_a_caller_is_shown_where_and_what_its_role_and_its_keys_scope_permit(budget: Budget) -> None:
    user = given_user(Role.ADMINISTRATOR, customer=budget.customer, username="ada")
    given_customer()  # another one
    end = NOW + timedelta(days=1)
    _row, key = ApiKey.issue(user, name="HR report", scope=KeyScope.READ, expires_at=end)
    assert Door().get("").json()["you"] is None
    you = Door(key=key).get("").json()["you"]
    assert (you["username"], you["is_operator"]) == ("ada", False)
    assert (you["key"]["name"], you["key"]["scope"]) == ("HR report", "read")
    [customer] = you["customers"]
    assert customer["uuid"] == str(budget.customer.uuid)
    assert set(customer["may"]) == KEY_SCOPES[KeyScope.READ]
    [customer] = Door(session=user).get("").json()["you"]["customers"]
    assert set(customer["may"]) == {one for one, roles in PERMISSIONS.items() if Role.ADMINISTRATOR in roles}
    operator = Door(session=given_user(Role.OPERATOR)).get("").json()["you"]
    assert (operator["is_operator"], operator["key"], len(operator["customers"])) == (True, None, 2)


@pytest.mark.sqlite_only
@pytest.mark.django_db(transaction=True)
def test_the_first_calls_of_the_readme_work_as_they_stand(live_server: LiveServer, tmp_path: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("there is no curl")
    budget = given_budget()
    key = given_api_key(given_user(Role.ADMINISTRATOR, customer=budget.customer, username="ada"))
    (tmp_path / "var").mkdir()
    known = {"base_url": live_server.url, "users": {"administrator": {"api_key": key}}}
    (tmp_path / "var" / "demo.json").write_text(json.dumps(known))
    script = "\n".join(f"{call}; echo" if call.startswith("curl") else call for call in CALLS)
    script = script.replace("python3", sys.executable).replace("curl", "curl --silent --noproxy 127.0.0.1")
    said = subprocess.run(
        ["/bin/sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    first, second = said.stdout.splitlines()
    assert json.loads(first)["you"]["username"] == "ada"
    assert json.loads(second)["results"][0]["uuid"] == str(budget.uuid)
