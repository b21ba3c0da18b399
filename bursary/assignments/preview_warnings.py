"""What a preview warns of: doubtful domains, other assignments of the course, and money that runs out.

A warning refuses nothing. It is about an entry that would be allocated, and knows only the assignments and
learners of the budget's own customer.
"""

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, zip_longest
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Lower, StrIndex, Substr
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from bursary.access import suppressions
from bursary.access.models import Role, SuppressionReason, User, of_mailboxes
from bursary.assignments.choices import IN_FORCE, ActionType, State
from bursary.assignments.matching import Match, of_course
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.open_assignments import still_open
from bursary.budgets import ledger
from bursary.budgets.models import Budget
from bursary.lib.batches import chunks
from bursary.lib.mailbox import RESERVED
from bursary.lib.prepared import Parameter, PreparedSelect

LEARNERS_PER_QUERY = 10_000  # three parameters for each; SQLite takes 32,766

WELL_KNOWN = (
    *("gmail.com", "googlemail.com", "hotmail.com", "outlook.com", "yahoo.com", "icloud.com", "yandex.com"),
    *("protonmail.com", "fastmail.com", "zohomail.com", "comcast.net", "hotmail.co.uk", "yahoo.co.uk"),
)
"""Names of five letters and more: too many other domains are an edit away from a shorter one."""
_OTHERS = frozenset({"mail.com", "email.com", "ymail.com", "cloud.com"})
"""Domains in use that are an edit away from a well-known one."""
_SHORT = ("live.com", "aol.com", "msn.com", "gmx.com")
"""Well-known domains. Most names an edit away from them are in use, such as `like.com`."""
_IN_USE_FOR_COM = frozenset({"co", "cm", "om", "cam", "bom", "com"})
"""Top-level domains that are an edit away from `com`, or are it."""
_EASILY_CONFUSED = 7
"""A name of so many letters, such as `outlook`, is recognised behind two edits, a shorter one behind one."""
# Not `.example`: pages and cases use it for organisations that are made up.
RESERVED_DOMAINS = (*RESERVED, "internal", "example.com", "example.net", "example.org")


class WarningCode(enum.StrEnum):
    DOMAIN_MISTYPED = "domain_mistyped"
    """The domain is nearly a well-known one."""
    DOMAIN_RESERVED = "domain_reserved"
    """The domain is reserved for examples, tests or private networks: no mail from outside arrives there."""
    ADDRESS_REFUSED = "address_refused"
    """The server of the address refused a mail of this customer for good."""
    MAIL_UNWANTED = "mail_unwanted"
    """The learner reported a mail of this customer as unwanted."""
    ACCEPTED_ELSEWHERE = "accepted_elsewhere"
    """The learner accepted the course by another assignment."""
    OPEN_ELSEWHERE = "open_elsewhere"
    """The learner has another, open assignment of the course."""
    DECLINED_ELSEWHERE = "declined_elsewhere"
    """The learner declined another assignment of the course."""
    BEYOND_AVAILABLE = "beyond_available"
    """In the order of the list, the money is used up before this entry."""


IN_SUMMARY: Mapping[WarningCode, Any] = {
    WarningCode.DOMAIN_MISTYPED: _("Addresses with a domain that looks mistyped"),
    WarningCode.DOMAIN_RESERVED: _("Addresses with a reserved domain"),
    WarningCode.ADDRESS_REFUSED: _("Addresses that were refused by their server"),
    WarningCode.MAIL_UNWANTED: _("Learners that reported a mail as unwanted"),
    WarningCode.ACCEPTED_ELSEWHERE: _("Learners that accepted this course before"),
    WarningCode.OPEN_ELSEWHERE: _("Learners to whom this course is assigned already"),
    WarningCode.DECLINED_ELSEWHERE: _("Learners that declined this course before"),
    WarningCode.BEYOND_AVAILABLE: _("Learners for whom no money is left, in the order of the list"),
}
NEXT_STEPS: Mapping[WarningCode, Any] = {
    WarningCode.DOMAIN_MISTYPED: _("Correct the address, unless it is right."),
    WarningCode.DOMAIN_RESERVED: _("Correct the address, or remove it."),
    WarningCode.ADDRESS_REFUSED: _("Correct the address, or ask the learner for another one."),
    WarningCode.MAIL_UNWANTED: _("Ask the learner by another way first."),
    WarningCode.ACCEPTED_ELSEWHERE: _("Remove the learner, unless the course is to be paid for once more."),
    WarningCode.OPEN_ELSEWHERE: _("Remove the learner, or cancel the other assignment."),
    WarningCode.DECLINED_ELSEWHERE: _("Ask the learner first, or remove the learner."),
    WarningCode.BEYOND_AVAILABLE: _("Remove learners, or have the budget raised."),
}


@dataclass(frozen=True)
class PreviewWarning:
    """One thing to check about one entry. `details` are counts, addresses or identifiers."""

    code: WarningCode
    sentence: str
    details: Mapping[str, object] = field(default_factory=dict)

    @property
    def next_step(self) -> str:
        """What the administrator can do."""
        return str(NEXT_STEPS[self.code])


@dataclass(frozen=True)
class WarningSummary:
    """The number of entries with one kind of warning, as a sentence too."""

    code: WarningCode
    count: int

    @property
    def sentence(self) -> str:
        """The kind and the number."""
        return f"{IN_SUMMARY[self.code]}: {self.count:,}."

    @property
    def next_step(self) -> str:
        """What the administrator can do."""
        return str(NEXT_STEPS[self.code])


def find(
    budget: Budget, to_allocate: Sequence[Match], *, course_key: str, price_cents: int, now: datetime
) -> dict[int, list[PreviewWarning]]:
    """Return, by position, the warnings about the matches that would be allocated.

    `course_key` is that of the course, also where a run of it is previewed. For 10,000 addresses three
    queries, and one more where a learner has many addresses, or a mail came back.
    """
    found: dict[int, list[PreviewWarning]] = {}
    for position, warning in chain(
        _doubtful_domains(budget, to_allocate),
        _reported(budget, to_allocate),
        _elsewhere(budget, to_allocate, course_key=course_key, now=now),
        _beyond_available(budget, to_allocate, price_cents=price_cents),
    ):
        found.setdefault(position, []).append(warning)
    return found


def summary(warnings: Mapping[int, Sequence[PreviewWarning]]) -> list[WarningSummary]:
    """Return the number of entries for each kind that there is, in the order of `WarningCode`."""
    codes = [one.code for of_entry in warnings.values() for one in of_entry]
    return [WarningSummary(code, codes.count(code)) for code in WarningCode if code in codes]


def meant_domain(domain: str) -> str:
    """Return the well-known domain that this one is probably a mistyped form of; empty if there is none.

    Probably: one letter is missing, wrong or too much, or two are swapped; in the part before the last dot of
    a long name, two such edits. Of a short name: a letter is doubled, two of four are swapped, or the ending
    is nearly `com` and no top-level domain.
    """
    if domain in WELL_KNOWN or domain in _OTHERS:
        return ""
    body, _, ending = domain.rpartition(".")
    for known in _SHORT:
        known_body = known.partition(".")[0]
        no_ending = ending not in _IN_USE_FOR_COM and _within(ending, "com", edits=1)
        if (body == known_body and no_ending) or (ending == "com" and body in _slips(known_body)):
            return known
    for known in WELL_KNOWN:
        if _within(domain, known, edits=1):
            return known
        known_body, _, known_ending = known.rpartition(".")
        is_long = len(known_body.partition(".")[0]) >= _EASILY_CONFUSED
        if is_long and ending == known_ending and _within(body, known_body, edits=2):
            return known
    return ""


def _slips(name: str) -> set[str]:
    """Return the name with a doubled letter and, if it has four letters, with two swapped ones."""
    doubled = {name[:at] + name[at] + name[at:] for at in range(len(name))}
    swaps = range(len(name) - 1 if len(name) > 3 else 0)
    return doubled | {name[:at] + name[at + 1] + name[at] + name[at + 2 :] for at in swaps}


def _within(text: str, other: str, *, edits: int) -> bool:
    """Return whether so many edits make one text of the other. Two letters that are swapped are one edit."""
    while text and other and text[0] == other[0]:
        text, other = text[1:], other[1:]
    if text == other:
        return True
    if edits < max(1, abs(len(text) - len(other))):
        return False
    pairs = [(text[1:], other), (text, other[1:]), (text[1:], other[1:])]
    if text[:2] == other[1::-1]:
        pairs.append((text[2:], other[2:]))
    return any(_within(one, two, edits=edits - 1) for one, two in pairs)


def _doubtful_domains(budget: Budget, to_allocate: Sequence[Match]) -> Iterator[tuple[int, PreviewWarning]]:
    domains = {_domain(one) for one in to_allocate}
    reserved = {one for one in domains if f".{one}".endswith(tuple(f".{name}" for name in RESERVED_DOMAINS))}
    suggested = {one: known for one in domains - reserved if (known := meant_domain(one))}
    used = _domains_in_use(budget, reserved | suggested.keys())
    for one in to_allocate:
        domain = _domain(one)
        if domain in used:
            continue
        if domain in reserved:
            sentence = gettext("“%(domain)s” is reserved for examples, tests or private networks.")
            sentence %= {"domain": domain}
            yield one.addressee.position, PreviewWarning(WarningCode.DOMAIN_RESERVED, sentence)
        elif domain in suggested:
            suggestion = f"{one.addressee.address.partition('@')[0]}@{suggested[domain]}"
            sentence = gettext("“%(domain)s” looks mistyped: perhaps %(suggestion)s is meant.")
            sentence %= {"domain": domain, "suggestion": suggestion}
            details = {"suggestion": suggestion}
            yield one.addressee.position, PreviewWarning(WarningCode.DOMAIN_MISTYPED, sentence, details)


def _domain(match: Match) -> str:
    return match.addressee.address.partition("@")[2]


def _domains_in_use(budget: Budget, domains: Iterable[str]) -> set[str]:
    """Return those of the customer's learners: of an account, or of an assignment that was accepted.

    An address that was only assigned to proves nothing: the same mistake may have been made before.
    """
    asked = list(domains)
    if not asked:
        return set()
    accepted = LearnerContentAssignment.objects.filter(
        budget__customer=budget.customer_id, accepted_at__isnull=False
    )
    accounts = User.objects.filter(role_grants__role=Role.LEARNER, role_grants__customer=budget.customer_id)
    in_assignments, in_accounts = (
        rows.annotate(domain=Lower(Substr(email, StrIndex(email, Value("@")) + 1)))
        .filter(domain__in=asked)
        .order_by()  # SQLite refuses the order of a part of a union
        .values_list("domain", flat=True)
        for rows, email in ((accepted, "learner_email"), (accounts, "email"))
    )
    return set(in_assignments.union(in_accounts))


def _reported(budget: Budget, to_allocate: Sequence[Match]) -> Iterator[tuple[int, PreviewWarning]]:
    """Yield, for each address of which the mail provider reported something to this customer, what."""
    reported = suppressions.reported(budget.customer_id, [one.addressee.address for one in to_allocate])
    for one in to_allocate:
        if reason := reported.get(one.addressee.address):
            code, sentence = _REPORTS[reason]
            yield one.addressee.position, PreviewWarning(code, str(sentence))


_REPORTS: Mapping[SuppressionReason, tuple[WarningCode, Any]] = {
    SuppressionReason.BOUNCED: (
        WarningCode.ADDRESS_REFUSED,
        _("The address was refused by its server: a mail to it came back."),
    ),
    SuppressionReason.COMPLAINED: (
        WarningCode.MAIL_UNWANTED,
        _("The learner reported an earlier mail as unwanted."),
    ),
}


def _elsewhere(
    budget: Budget, to_allocate: Sequence[Match], *, course_key: str, now: datetime
) -> Iterator[tuple[int, PreviewWarning]]:
    """Yield, for each learner with other assignments of the course, the one that matters most."""
    by_identity: dict[str | int, list[tuple[WarningCode, LearnerContentAssignment]]] = {}
    for code, other in _other_assignments(budget, to_allocate, course_key=course_key, now=now):
        for identity in (other.mailbox_or_learner_key, other.lms_user_id or ""):
            by_identity.setdefault(identity, []).append((code, other))
    in_order = list(WarningCode)
    for one in to_allocate:
        others = chain.from_iterable(by_identity.get(identity, ()) for identity in one.known_by)
        own = one.assignment and one.assignment.pk
        found = [(in_order.index(code), other.pk, other) for code, other in others if other.pk != own]
        if not found:
            continue
        rank, _pk, other = min(found, key=lambda it: it[:2])
        code, name = in_order[rank], other.budget.name
        sentence = _SENTENCES[code].format(key=other.content_key, budget=name)
        details = {
            "assignment_uuid": str(other.uuid),
            "content_key": other.content_key,
            "policy_uuid": str(other.budget.uuid),
        }
        yield one.addressee.position, PreviewWarning(code, sentence, details)


_SENTENCES: Mapping[WarningCode, Any] = {
    WarningCode.ACCEPTED_ELSEWHERE: _("The learner accepted {key}, from the budget {budget}."),
    WarningCode.OPEN_ELSEWHERE: _("The learner has an open assignment of {key}, from the budget {budget}."),
    WarningCode.DECLINED_ELSEWHERE: _("The learner declined {key}, from the budget {budget}."),
}


def _other_assignments(
    budget: Budget, to_allocate: Sequence[Match], *, course_key: str, now: datetime
) -> Iterator[tuple[WarningCode, LearnerContentAssignment]]:
    """Yield the accepted, open and declined assignments that these learners have of the course."""
    known = dict.fromkeys(chain.from_iterable(one.known_by for one in to_allocate))
    keys = chunks((one for one in known if isinstance(one, str)), LEARNERS_PER_QUERY)
    ids = chunks((one for one in known if isinstance(one, int)), LEARNERS_PER_QUERY)
    same = {"course": course_key, "customer": budget.customer_id}
    for some_keys, some_ids in zip_longest(keys, ids, fillvalue=()):
        for other in _same_course.read(keys=some_keys, ids=some_ids, **same):
            if other.state == State.ACCEPTED:
                yield WarningCode.ACCEPTED_ELSEWHERE, other
            elif still_open(other, now=now):
                yield WarningCode.OPEN_ELSEWHERE, other
            elif other.declined:
                yield WarningCode.DECLINED_ELSEWHERE, other


@PreparedSelect
def _same_course() -> QuerySet[LearnerContentAssignment]:
    """Return the assignments that `_other_assignments` asks for."""
    field = LearnerContentAssignment._meta.get_field
    course = Parameter("course", field("content_key"))
    customer = Parameter("customer", Budget._meta.get_field("customer"))
    mine = of_mailboxes(Parameter("keys", field("learner_key")))
    mine |= Q(lms_user_id__in=Parameter("ids", field("lms_user_id")))
    declined = LearnerContentAssignmentAction.objects.filter(
        assignment=OuterRef("pk"), action_type=ActionType.DECLINED
    )
    return (
        LearnerContentAssignment.objects.filter(
            of_course(course), budget__customer=customer, forgotten_at=None
        )
        .annotate(declined=Exists(declined))
        .filter(Q(state__in=IN_FORCE) | Q(declined=True))
        .select_related("budget")
    )


def _beyond_available(
    budget: Budget, to_allocate: Sequence[Match], *, price_cents: int
) -> Iterator[tuple[int, PreviewWarning]]:
    available = ledger.available_cents(budget)
    if available is None or price_cents * len(to_allocate) <= available:
        return
    paid = available // price_cents
    for one in to_allocate[paid:]:
        sentence = gettext("In the order of the list, what is available is used up before this entry.")
        details = {"affordable_seats": paid}
        yield one.addressee.position, PreviewWarning(WarningCode.BEYOND_AVAILABLE, sentence, details)
