"""No address shows an organisation the runs that only the catalog of another one may have.

Every address of the service is asked as its administrator and its learner. An address that is added later
fails here until it is listed. The organisation that may have the runs sees them at the same addresses, so
that these are where a run would show.
"""

import functools
import html
import itertools
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from pytest_django import Settings

from bursary.access.models import Role
from bursary.assignments import signed_links, unsubscribing
from bursary.assignments.models import LearnerContentAssignmentAction
from tests.flows.organisations import CENTS, OTHER, RESTRICTED, Organisation, Scene, two_organisations
from tests.replica.serving import ALLOWED, MOVE, ONLY, PRIV, PRIVATE_RUN, PUBLIC_RUN
from tests.world import given_api_key, given_customer, given_user

pytestmark = [pytest.mark.django_db, pytest.mark.takes_long]

KEYS = (PRIV, PUBLIC_RUN, PRIVATE_RUN, ONLY, f"course-v1:{ONLY}+PRIV", MOVE)
Body = Mapping[str, object]
IN_FULL = "BURSARY_TEST_SOAK" in os.environ

SELECTING: Sequence[Body] = [
    {},
    {"catalog": ALLOWED},
    *({"parent": key, "content_key": key} for key in (PRIV, PRIVATE_RUN)),
    {"search": "Negotiating", "q": "Negotiating", "field": "enroll_by", "since": "2026-01-01"},
]
"""Parameters that select content."""
PLAIN: Sequence[Body] = [{}]
OF_A_CUSTOMER = re.compile("credits|learner-profile|.*-requests.*")
"""Addresses with the organisation in the query string, by their names."""

READ: dict[str, Sequence[Body]] = {
    **dict.fromkeys(["contents", "assign"], SELECTING),
    **dict.fromkeys(["content", "content-changes", "content-impact"], SELECTING[:2]),
    **dict.fromkeys(["policies", "policy", "assignments", "can-redeem"], SELECTING),
    **dict.fromkeys(
        ["api-assignment", "timeline", "redemption-status", "credits", "schema", "docs", "api-root"], PLAIN
    ),
    "csrf-token": PLAIN,
    **dict.fromkeys(["", "healthz", "metrics", "favicon", "home", "own-assignments", "assignment"], PLAIN),
    **dict.fromkeys(["assignment-list", "assignment-totals", "assignment-sums"], SELECTING),
    **dict.fromkeys(["export-assignments", "export"], SELECTING),
    **dict.fromkeys(["budgets", "budget", "budget-spent", "failures", "allocation-batch", "batch"], PLAIN),
    **dict.fromkeys(["answer", "add-address", "accept", "decline-page", "unsubscribe"], PLAIN),
    **dict.fromkeys(["transactions", "can-request"], SELECTING),
    **dict.fromkeys(["customer-configuration", "learner-profile"], PLAIN),
    **{
        f"{kind}-requests{more}": PLAIN
        for kind in ("learner-credit", "license", "coupon-code")
        for more in ("", "-overview")
    },
    **dict.fromkeys(["cancel-assignment", "extend-deadline", "correct-address"], PLAIN),
    **dict.fromkeys(["bulk-question", "bulk-result"], PLAIN),
}
"""What is read, by the name of its address; after everything that was sent, without parameters."""
UNCHANGED = {"schema", "docs", "api-root", "content", "content-changes"}
"""Of the code, or of the replica, which nothing that is sent changes."""


def allocations(one: Organisation) -> list[Body]:
    """Return the bodies that allocate each key at several prices, to a learner each."""
    return [
        {"content_key": key, "content_price_cents": cents, "learner_emails": [f"{number}@{one.host}"]}
        for number, (key, cents) in enumerate(itertools.product(KEYS, (5000, CENTS)))
    ]


def forms(one: Organisation) -> list[Body]:
    """Return the forms that assign what is restricted, at both prices, and that search for it, chosen."""
    prices = itertools.cycle((5000, CENTS))
    keys, buttons = (PRIV, PRIVATE_RUN, ONLY), ("search", "preview", "assign")
    return [
        {"course": f"{cents} {key}", "addresses": f"typed@{one.host}", "q": key, button: "yes"}
        for (key, button), cents in zip(itertools.product(keys, buttons), prices, strict=False)
    ]


def corrections(one: Organisation) -> list[Body]:
    pair = {"old_address": f"0@{one.host}", "new_address": f"other@{one.host}"}
    return [{"corrections": [pair], "dry_run": dry} for dry in (True, False)]


def named(one: Organisation) -> list[Body]:
    return [{"assignment_uuids": [str(uuid) for uuid in one.assignments().values_list("uuid", flat=True)]}]


def of_starting(one: Organisation) -> list[Body]:
    return [body | {"days_before_course_start_date": 100} for body in map(dict, named(one))]


def nothing(_one: Organisation) -> list[Body]:
    return [{}]


def of_the_customer(one: Organisation) -> list[Body]:
    customer = one.budget.customer
    return [
        {"enterprise_customer_slug": customer.slug},
        {"enterprise_customer_uuid": str(customer.uuid)},
    ]


def selected(one: Organisation) -> list[Body]:
    """Return the forms that ask whether to cancel, and that cancel what was cancelled before."""
    uuids = [str(row.uuid) for row in one.assignments()]
    form: Body = {"verb": "cancel", "uuid": uuids}
    return [form, {**form, "confirmed": len(uuids)}]


SENT: dict[str, Callable[[Organisation], list[Body]]] = {
    "can-allocate": allocations,
    "allocate": allocations,
    "assign": forms,
    "nudge": of_starting,
    "remind": named,
    "remind-all": nothing,
    "correct-addresses": corrections,
    "redeem": lambda _one: [{"content_key": key} for key in KEYS],
    "answer": lambda _one: [{"answer": "new-link"}],
    "add-address": nothing,
    "accept": nothing,
    "decline": nothing,
    "decline-page": nothing,
    "revoke-links": nothing,
    **dict.fromkeys(["remind-learner", "extend-deadline", "correct-address"], nothing),
    **dict.fromkeys(["retry-action", "skip-action"], nothing),
    **dict.fromkeys(["retry", "skip", "extend"], named),
    **dict.fromkeys(["retry-all", "extend-all"], nothing),
    "cancel": named,
    "cancel-all": nothing,
    "cancel-assignment": nothing,
    "selected-assignments": selected,
    "acknowledge": named,
    "assignment": nothing,
    **{f"portal-{name}": of_the_customer for name in ("dashboard", "search", "academy", "skills-quiz")},
    "customer-configurations": of_the_customer,
    "content-events": lambda _one: [{"type": "content.changed", "data": {"content_keys": [*KEYS]}}],
    "mail-events": nothing,
    "unsubscribe": lambda _one: [{"reminders": "off"}, {"reminders": "on"}],
}
"""What is sent, by the name of its address, in this order."""
UNREAD = {
    *("sign-in", "sign-out", "account", "change-password", "revoke-key"),
    *("forgotten-password", "password-link-sent", "new-password"),
}
"""Of an account alone."""


class Route(NamedTuple):
    """An address: the pattern of its path, and the names of the parameters in it."""

    pattern: str
    parameters: Sequence[str]

    @property
    def is_of_api(self) -> bool:
        return self.pattern.startswith("/api/")


def routes(resolver: URLResolver | None = None, path: str = "/") -> Iterator[tuple[str, Route]]:
    """Yield every address with its name, without those of Django's administration."""
    for one in (resolver or get_resolver()).url_patterns:
        whole = path + str(one.pattern)
        if isinstance(one, URLPattern):
            yield one.name or "", Route(whole, sorted(one.pattern.regex.groupindex))
        elif one.namespace != "admin":
            yield from routes(one, whole)


def test_each_address_is_listed() -> None:
    names = [name for name, _route in routes()]
    assert sorted(names) == sorted({*READ, *SENT} | UNREAD)


def values_of(parameter: str, scene: Scene, one: Organisation) -> list[object]:
    """Return the values of a parameter in a path, of both organisations."""
    both = (scene.ours, scene.theirs)
    of_budgets = {
        "policy_uuid": "uuid",
        "configuration_uuid": "assignment_configuration_uuid",
        "customer_uuid": "customer.uuid",
        "subsidy_uuid": "account.uuid",
        "budget_uuid": "uuid",
    }
    match parameter:
        case "content_key":
            return [*KEYS]
        case "provider":
            return ["mailgun"]
        case "token":
            return tokens_of(one)
        case "uuid" | "assignment_uuid":
            firsts = [each.assignments()[: 2 if IN_FULL or each is one else 1] for each in both]
            return [row.uuid for row in itertools.chain(*firsts)]
        case "batch_uuid":
            return [row.allocation_batch_uuid for each in both for row in each.assignments()[:1]]
        case "action_uuid":
            redeemed = LearnerContentAssignmentAction.objects.filter(action_type="redeemed")
            return [*redeemed.order_by("pk").values_list("uuid", flat=True)]
    return [attrgetter(of_budgets[parameter])(each.budget) for each in both]


def tokens_of(one: Organisation) -> list[object]:
    """Return the tokens of links in mails to two learners, and of one that ends reminders."""
    now, rows = timezone.now(), one.assignments()[:2]
    invited = LearnerContentAssignmentAction.objects.filter(
        action_type="notified", assignment__in=[row.pk for row in rows]
    )
    return [
        *(signed_links.token_for(row, address=row.learner_email, now=now) for row in rows),
        *(unsubscribing.token_for(mail, now=now) for mail in invited.order_by("pk")[:1]),
    ]


Values = Callable[[str], list[object]]
"""The values of a parameter by its name."""


def paths(route: Route, values: Values) -> list[str]:
    """Return the paths of an address with each of those values."""
    found = []
    of_budgets = {"uuid": "budget_uuid"} if route.pattern.startswith("/budgets/") else {}
    values_each = [values(of_budgets.get(name, name)) for name in route.parameters]
    for chosen in itertools.product(*values_each):
        path = route.pattern
        for name, value in zip(route.parameters, chosen, strict=True):
            path = re.sub(rf"<(\w+:)?{name}>|\(\?P<{name}>[^)]*\)", str(value), path)
        found.append(path.replace("^", "").replace("$", "").replace("+", "%2B"))
    return found


class Callers:
    """An organisation's administrator and learner, each with an API key, and a browser for the pages."""

    def __init__(self, one: Organisation) -> None:
        self.one = one
        users = (one.administrator, one.learner)
        self.keys = [Client(headers={"Authorization": f"Bearer {given_api_key(user)}"}) for user in users]
        self.browsers = [Client() for _user in users]
        for browser, user in zip(self.browsers, users, strict=True):
            browser.force_login(user)

    def ask(self, method: str, route: Route, path: str, questions: Sequence[Body]) -> None:
        """Ask as each, until one is refused whatever it asks; `make soak` goes on.

        A link from a mail is opened by the learner, and shows each reader the same.
        """
        clients = self.keys if route.is_of_api else self.browsers
        for client in clients[-1:] if "token" in route.parameters and not IN_FULL else clients:
            for body in questions:
                refused = self._is_refused(client, method, route, path, body)
                if refused and "content_key" not in route.parameters and not IN_FULL:
                    break

    def _is_refused(self, client: Client, method: str, route: Route, path: str, body: Body) -> bool:
        how = {"content_type": "application/json"} if method == "post" and route.is_of_api else {}
        answer = getattr(client, method)(path, body, follow=not route.is_of_api, **how)
        assert answer.status_code < 500, (path, body)
        asked = f"{method} {path} {body}".replace("%2B", "+")
        self.one.seen.append((asked, html.unescape(answer.getvalue().decode())))
        return answer.status_code in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


def uuids_of(one: Organisation) -> list[str]:
    """Return the uuids by which paths name an organisation and what it has."""
    budget = one.budget
    its_own = [budget.uuid, budget.assignment_configuration_uuid, budget.customer.uuid, budget.account.uuid]
    return [str(uuid) for uuid in (*its_own, *one.assignments().values_list("uuid", flat=True))]


def asked_at(path: str, questions: Sequence[Body], *, beyond: list[str], limit: int = 1) -> Sequence[Body]:
    """Return what is asked at a path: `limit` questions where the path names the organisation beyond.

    Such a path is refused before anything else of a question is read; `make soak` asks all.
    """
    return questions[:limit] if not IN_FULL and any(uuid in path for uuid in beyond) else questions


def read_everything(scene: Scene, callers: Callers, *, again: bool = False) -> None:
    """Read with every question; again without parameters, where an answer may be another by now."""
    known, both = dict(routes()), (scene.ours, scene.theirs)
    beyond = uuids_of(scene.beyond(callers.one))
    values = functools.cache(lambda parameter: values_of(parameter, scene, callers.one))
    for name, questions in READ.items():
        if again and name in UNCHANGED and not IN_FULL:
            continue
        asked = PLAIN if again else questions
        if OF_A_CUSTOMER.fullmatch(name):
            asked = [{"enterprise_customer_uuid": one.budget.customer.uuid} for one in both]
        for path in paths(known[name], values):
            questions = asked_at(path, asked, beyond=beyond, limit=0 if again else 1)
            callers.ask("get", known[name], path, questions)


def send_everything(scene: Scene, callers: Callers) -> None:
    known, beyond = dict(routes()), uuids_of(scene.beyond(callers.one))
    for name, bodies in SENT.items():
        sent = bodies(callers.one)
        for path in paths(known[name], lambda parameter: values_of(parameter, scene, callers.one)):
            questions = asked_at(path, sent, beyond=beyond)
            callers.ask("post", known[name], path, questions)


@pytest.fixture
def scene(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(logging.getLogger("django.request"), "disabled", True)
    settings.POSTS_PER_MINUTE = 0
    return two_organisations(tmp_path, settings, monkeypatch)


def test_no_address_shows_an_organisation_what_only_another_may_have(scene: Scene) -> None:
    callers = Callers(scene.ours)
    read_everything(scene, callers)
    send_everything(scene, callers)
    read_everything(scene, callers, again=True)

    assert scene.ours.found(RESTRICTED | OTHER) == {}


def test_the_same_addresses_show_it_to_the_organisation_that_may_have_it(scene: Scene) -> None:
    callers = Callers(scene.theirs)
    for clients in (callers.keys, callers.browsers):
        del clients[1:]  # what its administrator sees is enough
    read_everything(scene, callers, again=True)

    assert scene.theirs.found(RESTRICTED | OTHER).keys() == {*RESTRICTED, *OTHER}


def test_an_administrator_of_an_organisation_has_no_access_to_the_operators_tables() -> None:
    browser = Client()
    browser.force_login(given_user(Role.ADMINISTRATOR, customer=given_customer()))
    for page in ("", "replica/contentmetadata/", "replica/contentchange/", "replica/catalogmembership/"):
        assert browser.get(f"/admin/{page}").headers["Location"].startswith("/admin/login/")
