"""The results of an allocation as sentences, with amounts in dollars, and addresses by their line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from bursary.assignments.allocation import Allocation, AllocationRefused, Preview
from bursary.assignments.choices import ExpiryReason, State
from bursary.assignments.matching import (
    CHARGED,
    OTHER_ASSIGNMENT,
    BadAddresses,
    Match,
    TooManyAddresses,
    Verdict,
)
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.pasted_lists import Entry, PastedList
from bursary.assignments.preview_warnings import PreviewWarning, WarningCode
from bursary.budgets.models import Budget
from bursary.lib.money import dollars
from bursary.replica import reads

MAX_LINES_NAMED = 20
MAX_LEARNERS_NAMED = 3
LONGEST_SHOWN = 254  # characters of an entry: the length of the longest address
PRICE_MOVED = "price_out_of_band"
ABOUT_THE_BUDGET = frozenset({"policy_expired", "subsidy_expired"})


@dataclass(frozen=True)
class Problem:
    """Why an allocation is refused, and the next step. `field` names the form field concerned, if any."""

    sentence: str
    next_step: str = ""
    field: str = ""


@dataclass(frozen=True)
class CheckedEntry:
    """One entry, and its result as the end of a sentence. `usable` is False if it is not an address."""

    entry: Entry
    result: str
    usable: bool = True
    costs: bool = False
    """Whether it would be assigned, and cost its price."""
    warnings: Sequence[PreviewWarning] = ()
    beyond_available: bool = False
    """Whether no money is left for it, in the order of the list; one sentence covers all such entries."""

    @property
    def text(self) -> str:
        """The entry's text, shortened if necessary."""
        return shown(self.entry.text)


def shown(text: str) -> str:
    """Return an entry's text; if it is longer than any address, only its beginning, and its length."""
    if len(text) <= LONGEST_SHOWN:
        return text
    words = {"beginning": text[:LONGEST_SHOWN], "count": f"{len(text):,}"}
    return _("%(beginning)s… (cut here; it has %(count)s characters)") % words


def done(allocated: Allocation, budget: Budget, *, price_cents: int) -> str:
    """Return the sentences for a successful allocation."""
    new = len(allocated.assignments(*CHARGED))
    title = allocated.content.title or allocated.content.content_key
    assigned = ngettext(
        "“%(title)s” is assigned to %(count)s learner: %(cost)s is reserved in %(budget)s.",
        "“%(title)s” is assigned to %(count)s learners: %(cost)s is reserved in %(budget)s.",
        new,
    )
    words = {"title": title, "count": f"{new:,}", "cost": dollars(price_cents * new), "budget": budget.name}
    skipped = {
        _("%(learners)s had “%(title)s” already."): (Verdict.ALREADY_ASSIGNED,),
        _("%(learners)s had “%(title)s”, and the mail about it had failed: it is sent again."): (
            Verdict.NOTIFIED_AGAIN,
        ),
        _(
            "%(learners)s had the course “%(title)s”, or another run of it; nothing new is assigned."
        ): OTHER_ASSIGNMENT,
        _("%(learners)s declined “%(title)s” before; nothing new is assigned."): (Verdict.DECLINED,),
    }
    unchanged = [
        sentence % {"learners": _named(found), "title": title}
        for sentence, verdicts in skipped.items()
        if (found := allocated.assignments(*verdicts))
    ]
    return " ".join([*([assigned % words] if new else []), *unchanged])


def left_out(people: PastedList) -> str:
    """Return the sentences on parts of the list that were left out, except names beside addresses.

    Addresses that were left out have a sentence of their own, as has the only column of addresses, if its
    heading suggests other people.
    """
    addresses = [one for one in people.dropped if one.column]
    lines = {entry.line for entry in people.entries}
    others = [one for one in people.dropped if not one.column and one.line not in lines]
    sentences = [
        _("The addresses were read from the only column that has any, “%(column)s”: check it.")
        % {"column": shown(people.read_column)}
        if people.read_column
        else "",
        _("Addresses left out, being in another column: %(first)s.") % {"first": _first(addresses)}
        if addresses
        else "",
        _("Lines without an address: %(first)s.") % {"first": _first(others)} if others else "",
    ]
    return " ".join(filter(None, sentences))


def _first(dropped: Sequence[Entry]) -> str:
    named = [
        (
            _("“%(text)s” (line %(line)s, column “%(column)s”)")
            if one.column
            else _("“%(text)s” (line %(line)s)")
        )
        % {"text": shown(one.text), "line": one.line, "column": shown(one.column)}
        for one in dropped[:MAX_LINES_NAMED]
    ]
    more = len(dropped) - len(named)
    return ", ".join([*named, *([_("%(count)s more") % {"count": f"{more:,}"}] if more else [])])


def problems(refused: Exception, entries: Sequence[Entry]) -> list[Problem]:
    """Return the problems for which nothing was assigned. An exception that is no refusal is raised again."""
    match refused:
        case AllocationRefused():
            return [refusal(refused)]
        case BadAddresses():
            return bad_lines(refused.errors, entries)
        case TooManyAddresses():
            return [Problem(str(refused), _("Assign them in several lists."), "addresses")]
        case reads.ContentUnavailable():
            sentence = _("The catalog does not answer, and this content is not known yet.")
            return [Problem(sentence, _("Try again in a minute."), "course")]
    raise refused


def refusal(refused: AllocationRefused) -> Problem:
    """Return an allocation's refusal as a problem, with amounts in dollars."""
    amounts = {
        name: dollars(value)
        for name, value in refused.details.items()
        if name.endswith("_cents") and isinstance(value, int)
    }
    if refused.reason == PRICE_MOVED:
        sentence = _(
            "The price was %(requested_price_cents)s when you chose it, and is %(catalog_price_cents)s now."
        )
        return Problem(sentence % amounts, _("Choose it again at the new price."), "course")
    if "available_cents" in amounts:
        sentence = _("This costs %(requested_cents)s; %(available_cents)s is available.")
        return Problem(sentence % amounts, refused.next_step, "addresses")
    field = "" if refused.reason in ABOUT_THE_BUDGET else "course"
    if refused.details.get("deadline_reason") == ExpiryReason.DUE_DATE:
        field = "due_date"
    return Problem(refused.sentence, refused.next_step, field)


def bad_lines(errors: Mapping[int, str], entries: Sequence[Entry]) -> list[Problem]:
    """Return the problems of the first `MAX_LINES_NAMED` bad lines, and one with the number of the others."""
    named = [
        Problem(
            _("Line %(line)s, “%(text)s”: %(problem)s")
            % {"line": entries[position].line, "text": shown(entries[position].text), "problem": problem},
            field="addresses",
        )
        for position, problem in sorted(errors.items())[:MAX_LINES_NAMED]
    ]
    more = len(errors) - len(named)
    others = ngettext(
        "%(count)s more entry is not an address.", "%(count)s more entries are not addresses.", more
    )
    return [*named, *([Problem(others % {"count": f"{more:,}"}, field="addresses")] if more else [])]


def checked(preview: Preview, entries: Sequence[Entry]) -> list[CheckedEntry]:
    """Return each entry with its result, in the order of the list."""
    results = {one.addressee.position: one for one in preview.matches}
    found = []
    for position, entry in enumerate(entries):
        if position not in results:
            found.append(CheckedEntry(entry, preview.bad_addresses[position], usable=False))
            continue
        match, warnings = results[position], preview.warnings.get(position, ())
        found.append(
            CheckedEntry(
                entry,
                _result(match, entries),
                warnings=[one for one in warnings if one.code != WarningCode.BEYOND_AVAILABLE],
                costs=match.verdict in CHARGED,
                beyond_available=any(one.code == WarningCode.BEYOND_AVAILABLE for one in warnings),
            )
        )
    return found


_RESULTS: Mapping[Verdict, tuple[Any, Any]] = {
    Verdict.ALREADY_ASSIGNED: (
        gettext_lazy("is already assigned, and costs nothing"),
        gettext_lazy("is already assigned, to %(address)s, and costs nothing"),
    ),
    Verdict.NOTIFIED_AGAIN: (
        gettext_lazy("is already assigned; the mail, which had failed, would be sent again"),
        gettext_lazy("is already assigned, to %(address)s; the mail, which had failed, would be sent again"),
    ),
    Verdict.HAS_OTHER_RUN: (
        gettext_lazy("would not be assigned: the run %(key)s of its course is assigned"),
        gettext_lazy("would not be assigned: the run %(key)s of its course is assigned, to %(address)s"),
    ),
    Verdict.HAS_COURSE: (
        gettext_lazy("would not be assigned: its course, %(key)s, is assigned"),
        gettext_lazy("would not be assigned: its course, %(key)s, is assigned, to %(address)s"),
    ),
    Verdict.ACCEPTED: (
        gettext_lazy("would not be assigned: %(key)s, of the same course, is accepted already"),
        gettext_lazy(
            "would not be assigned: %(key)s, of the same course, is accepted already, as %(address)s"
        ),
    ),
    Verdict.DECLINED: (
        gettext_lazy("would not be assigned: the learner declined it before"),
        gettext_lazy("would not be assigned: the learner declined it before"),
    ),
}
"""The sentences of a preview on a learner: with the address of the list, or with another known address."""
_AGAIN: Mapping[str, tuple[Any, Any]] = {
    State.CANCELLED: (
        gettext_lazy("would be assigned again: it was cancelled"),
        gettext_lazy("would be assigned again: it was cancelled, to %(address)s"),
    ),
    State.EXPIRED: (
        gettext_lazy("would be assigned again: it was expired"),
        gettext_lazy("would be assigned again: it was expired, to %(address)s"),
    ),
    State.REVERSED: (
        gettext_lazy("would be assigned again: it was reversed"),
        gettext_lazy("would be assigned again: it was reversed, to %(address)s"),
    ),
}


def _result(one: Match, entries: Sequence[Entry]) -> str:
    if (at := one.duplicate_of) is not None:
        first = entries[at]
        beside = [*entries[max(at - 1, 0) : at], *entries[at + 1 : at + 2]]
        sentence = _("is the same learner as in line %(line)s")
        if any(other.line == first.line for other in beside):
            sentence = _("is the same learner as “%(text)s” in line %(line)s")
        return sentence % {"text": shown(first.text), "line": first.line}
    if one.assignment is None:
        return _("would be assigned")
    words = _AGAIN[one.assignment.state] if one.verdict is Verdict.REALLOCATED else _RESULTS[one.verdict]
    figures = {"key": one.assignment.content_key, "address": one.assignment.learner_email}
    return str(words[one.known_by_other_address]) % figures


def _named(assignments: Sequence[LearnerContentAssignment]) -> str:
    """Return the addresses of the first learners, and the number of the others."""
    named = ", ".join(one.learner_email for one in assignments[:MAX_LEARNERS_NAMED])
    more = len(assignments) - MAX_LEARNERS_NAMED
    if more <= 0:
        return named
    words = ngettext("%(named)s and %(count)s more learner", "%(named)s and %(count)s more learners", more)
    return words % {"named": named, "count": f"{more:,}"}
