"""The journeys of an administrator and a learner, by the client that is generated from the description.

Runs in the environment of the client, which is the only one that has it. Reads a JSON object from standard
input, see `test_generated_client.py`. Operations are found by address, so that their names may change.
"""

import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from http import HTTPStatus
from types import ModuleType
from typing import Any, get_args, get_type_hints

GIVEN = json.load(sys.stdin)


def operations() -> Iterator[tuple[tuple[str, str], ModuleType]]:
    """Yield each operation of the client by method and address."""
    package = importlib.import_module("bursary_client")
    found = pkgutil.walk_packages(package.__path__, "bursary_client.")
    modules = {one.name.rpartition(".")[2]: one.name for one in found}
    for address, methods in GIVEN["paths"].items():
        for method, described in methods.items():
            yield (method, address), importlib.import_module(modules[described["operationId"]])


OPERATIONS = dict(operations())


class Caller:
    """A program with an API key."""

    def __init__(self, key: str) -> None:
        client: Any = importlib.import_module("bursary_client.client")
        self.client = client.AuthenticatedClient(base_url=GIVEN["url"], token=key, timeout=60)

    def get(self, address: str, **parameters: Any) -> Any:
        return self._send("get", address, HTTPStatus.OK, **parameters)

    def get_plain(self, address: str, **parameters: Any) -> Any:
        """Return JSON that the description leaves open, by the request that the client makes."""
        asked = OPERATIONS["get", address]._get_kwargs(**parameters)
        return self.client.get_httpx_client().request(**asked).raise_for_status().json()

    def post(self, address: str, status: HTTPStatus, body: dict[str, Any], **parameters: Any) -> Any:
        function: Any = OPERATIONS["post", address].sync_detailed
        kind = get_type_hints(function)["body"]
        [model] = [one for one in (kind, *get_args(kind)) if hasattr(one, "from_dict")]
        return self._send("post", address, status, body=model.from_dict(body), **parameters)

    def _send(self, method: str, address: str, status: HTTPStatus, **parameters: Any) -> Any:
        function: Any = OPERATIONS[method, address].sync_detailed
        answer = function(client=self.client, **parameters)
        assert answer.status_code == status, (address, answer)
        return answer.parsed


def as_administrator(caller: Caller) -> None:
    policies = "/api/v1/subsidy-access-policies/"
    [policy] = caller.get(policies).results
    assert str(policy.uuid) == GIVEN["policy"], policy
    policy = caller.get(f"{policies}{{policy_uuid}}/", policy_uuid=policy.uuid)
    assert policy.aggregates.to_dict()["amount_allocated_cents"] == 0, policy
    body = {
        "content_key": GIVEN["course"],
        "content_price_cents": 19_900,
        "learner_emails": [GIVEN["learner"], "bob@learners.example"],
    }
    named = {"policy_uuid": policy.uuid}
    previewed = caller.post(
        "/api/v1/policy-allocation/{policy_uuid}/can-allocate/", HTTPStatus.OK, body, **named
    )
    assert previewed.can_allocate, previewed
    allocate = "/api/v1/policy-allocation/{policy_uuid}/allocate/"
    first, again = (
        caller.post(allocate, HTTPStatus.ACCEPTED, body, idempotency_key="order 1", **named) for _ in "12"
    )
    assert len(first.created) == 2, first
    assert again == first, again
    caller.post(allocate, HTTPStatus.UNPROCESSABLE_ENTITY, body | {"content_price_cents": 1}, **named)
    rows = "/api/v1/assignment-configurations/{configuration_uuid}/admin/assignments/"
    configuration = {"configuration_uuid": GIVEN["configuration"]}
    listed = caller.get(rows, **configuration)
    assert (listed.count, {row.state for row in listed.results}) == (2, {"allocated"}), listed
    [bobs] = [row for row in listed.results if row.learner_email.startswith("bob@")]
    caller.get(f"{rows}{{assignment_uuid}}/", assignment_uuid=bobs.uuid, **configuration)
    cancelled = {"assignment_uuids": [str(bobs.uuid)]}
    caller.post(f"{rows}cancel/", HTTPStatus.OK, cancelled, **configuration)


def as_learner(caller: Caller) -> None:
    address = "/api/v1/policy-redemption/credits_available/"
    [policy] = caller.get_plain(address, enterprise_customer_uuid=GIVEN["customer"])
    [assignment] = policy["learner_content_assignments"]
    assert assignment["state"] == "allocated", assignment
    address = "/api/v1/policy-redemption/enterprise-customer/{customer_uuid}/can-redeem/"
    [shown] = caller.get_plain(address, customer_uuid=GIVEN["customer"], content_key=[GIVEN["course"]])
    assert shown["can_redeem"], shown
    redeemed = caller.post(
        "/api/v1/policy-redemption/{policy_uuid}/redeem/",
        HTTPStatus.OK,
        {"content_key": GIVEN["course"]},
        policy_uuid=GIVEN["policy"],
    )
    assert redeemed.state == "committed", redeemed
    assert str(redeemed.subsidy_access_policy_uuid) == GIVEN["policy"], redeemed


as_administrator(Caller(GIVEN["keys"]["administrator"]))
as_learner(Caller(GIVEN["keys"]["learner"]))
