"""The results of an allocation as sentences: amounts in dollars, addresses by their line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.template.defaultfilters import pluralize

from bursary.assignments.addresses import BadAddresses, TooManyAddresses
from bursary.assignments.allocation import Allocation, AllocationRefused, Preview
from bursary.assignments.choices import ExpiryReason
from bursary.assignments.matching import COSTLY, OTHER_ASSIGNMENT, Match, Verdict
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.pasted_lists import Entry, PastedList
from bursary.assignments.preview_warnings import PreviewWarning
from bursary.budgets.models import Budget
from bursary.lib.money import dollars
from bursary.replica import reads

MOST_LINES_NAMED = 20
MOST_LEARNERS_NAMED = 3
PRICE_MOVED = "price_out_of_band"
ABOUT_THE_BUDGET = frozenset({"policy_expired", "subsidy_expired"})


@dataclass(frozen=True)
class Problem:
    """Why something cannot be assigned, and the next step. `field` names the form field concerned, if any."""

    sentence: str
    next_step: str = ""
    field: str = ""


@dataclass(frozen=True)
class CheckedEntry:
    """One entry and its result as the end of a sentence. `usable` is False if it is not an address."""

    entry: Entry
    result: str
    usable: bool = True
    warnings: Sequence[PreviewWarning] = ()


def done(allocated: Allocation, budget: Budget, *, price_cents: int) -> str:
    """Return the sentence for an allocation that succeeded."""
    new = len(allocated.assignments(*COSTLY))
    title = allocated.content.title or allocated.content.content_key
    cost = dollars(price_cents * new)
    assigned = (
        f"“{title}” is assigned to {_learners(new)}: {cost} is reserved in {budget.name}." if new else ""
    )
    nothing = "nothing new is assigned"
    skipped = {
        f"had “{title}” already": allocated.assignments(Verdict.UNCHANGED),
        f"had the course “{title}”, or another run of it; {nothing}": allocated.assignments(
            *OTHER_ASSIGNMENT
        ),
        f"declined “{title}” before; {nothing}": allocated.assignments(Verdict.DECLINED),
    }
    unchanged = [f"{_named(found)} {what}." for what, found in skipped.items() if found]
    return " ".join(filter(None, [assigned, *unchanged]))


def left_out(people: PastedList) -> str:
    """Return the sentences for what was dropped; empty if nothing was. Addresses have one of their own.

    So has a column of addresses that seems to be of other people and was read, being the only one.
    """
    addresses = [one for one in people.dropped if one.column]
    others = [one for one in people.dropped if not one.column]
    read = people.read_column
    sentences = [
        f"The addresses were read from the only column that has any, “{read}”: check it." if read else "",
        f"Addresses left out, being in another column: {_first(addresses)}." if addresses else "",
        f"Left out, being no addresses: {_first(others)}." if others else "",
    ]
    return " ".join(filter(None, sentences))


def _first(dropped: Sequence[Entry]) -> str:
    named = [
        f"“{one.text}” (line {one.line}{', column “' + one.column + '”' if one.column else ''})"
        for one in dropped[:MOST_LINES_NAMED]
    ]
    more = len(dropped) - len(named)
    return ", ".join([*named, *([f"{more:,} more"] if more else [])])


def problems(refused: Exception, entries: Sequence[Entry]) -> list[Problem]:
    """Return why nothing was assigned. Re-raises an exception that is not a refusal."""
    match refused:
        case AllocationRefused():
            return [refusal(refused)]
        case BadAddresses():
            return bad_lines(refused.errors, entries)
        case TooManyAddresses():
            return [Problem(str(refused), "Assign them in several lists.", "addresses")]
        case reads.ContentUnavailable():
            sentence = "The catalog does not answer, and this content is not known yet."
            return [Problem(sentence, "Try again in a minute.", "course")]
    raise refused


def refusal(refused: AllocationRefused) -> Problem:
    """Return an allocation's refusal, its amounts in dollars."""
    amounts = {
        name: dollars(figure)
        for name, figure in refused.figures.items()
        if name.endswith("_cents") and isinstance(figure, int)
    }
    if refused.reason == PRICE_MOVED:
        sentence = (
            "The price was {requested_price_cents} when you chose it, and is {catalog_price_cents} now."
        )
        return Problem(sentence.format_map(amounts), "Choose it again at the new price.", "course")
    if "available_cents" in amounts:
        sentence = "This costs {requested_cents}; {available_cents} is available."
        return Problem(sentence.format_map(amounts), refused.next_step, "addresses")
    field = "" if refused.reason in ABOUT_THE_BUDGET else "course"
    if refused.figures.get("deadline_reason") == ExpiryReason.DUE_DATE:
        field = "due_date"
    return Problem(refused.sentence, refused.next_step, field)


def bad_lines(errors: Mapping[int, str], entries: Sequence[Entry]) -> list[Problem]:
    """Return the problem of each bad line: the first `MOST_LINES_NAMED`, and the number of the others."""
    named = [
        Problem(f"Line {entries[position].line}, “{entries[position].text}”: {problem}", field="addresses")
        for position, problem in sorted(errors.items())[:MOST_LINES_NAMED]
    ]
    more = len(errors) - len(named)
    return (
        [*named, Problem(f"{more:,} more entries are not addresses.", field="addresses")] if more else named
    )


def checked(preview: Preview, entries: Sequence[Entry]) -> list[CheckedEntry]:
    """Return each entry with its result, in their order."""
    results = {one.addressee.position: _result(one, entries) for one in preview.outcomes}
    return [
        CheckedEntry(entry, results[position], warnings=preview.warnings.get(position, ()))
        if position in results
        else CheckedEntry(entry, preview.bad_addresses[position], usable=False)
        for position, entry in enumerate(entries)
    ]


def _result(one: Match, entries: Sequence[Entry]) -> str:
    if one.duplicate_of is not None:
        return f"is the same learner as in line {entries[one.duplicate_of].line}"
    if one.assignment is None:
        return "would be assigned"
    known = f", to {one.assignment.learner_email}" if one.known_by_other_address else ""
    as_other = f", as {one.assignment.learner_email}" if known else ""
    other = one.assignment.content_key
    match one.verdict:
        case Verdict.UNCHANGED:
            return f"is already assigned{known}, and costs nothing"
        case Verdict.HAS_OTHER_RUN:
            return f"would not be assigned: the run {other} of its course is assigned{known}"
        case Verdict.HAS_COURSE:
            return f"would not be assigned: its course, {other}, is assigned{known}"
        case Verdict.ACCEPTED:
            return f"would not be assigned: {other}, of the same course, is accepted already{as_other}"
        case Verdict.DECLINED:
            return "would not be assigned: the learner declined it before"
    return f"would be assigned again: it was {one.assignment.state}{known}"


def _named(assignments: Sequence[LearnerContentAssignment]) -> str:
    """Return the addresses of the first learners, and the number of the others."""
    named = [one.learner_email for one in assignments[:MOST_LEARNERS_NAMED]]
    more = len(assignments) - len(named)
    return " and ".join([", ".join(named), *([f"{more:,} more learner{pluralize(more)}"] if more else [])])


def _learners(count: int) -> str:
    return f"{count:,} learner{pluralize(count)}"
