"""What came of an allocation, in words for people: amounts in dollars, addresses by their lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.template.defaultfilters import pluralize

from bursary.assignments.addresses import BadAddresses, TooManyAddresses
from bursary.assignments.allocation import Allocation, AllocationRefused, Preview
from bursary.assignments.matching import Match, Verdict
from bursary.budgets.models import Budget
from bursary.dashboard.forms import Entry
from bursary.dashboard.templatetags.money import dollars
from bursary.replica import reads

MOST_LINES_NAMED = 20
PRICE_MOVED = "price_out_of_band"
ABOUT_THE_BUDGET = frozenset({"policy_expired", "subsidy_expired"})


@dataclass(frozen=True)
class Problem:
    """Why something cannot be assigned, and what to do next. `field` is the form's that it is about."""

    sentence: str
    next_step: str = ""
    field: str = ""


@dataclass(frozen=True)
class CheckedEntry:
    """One entry with its verdict. `usable` says that it is an address."""

    entry: Entry
    verdict: str
    usable: bool = True


def done(allocated: Allocation, budget: Budget, *, price_cents: int) -> str:
    """Return what an allocation did."""
    new = len(allocated.assignments(Verdict.NEW, Verdict.AGAIN))
    had = len(allocated.assignments(Verdict.UNCHANGED))
    title = allocated.content.title or allocated.content.content_key
    cost = dollars(price_cents * new)
    told = [f"“{title}” is assigned to {_learners(new)}: {cost} is held in {budget.name}."] if new else []
    if had:
        told.append(f"{_learners(had)} had it already.")
    return " ".join(told)


def problems(refused: Exception, entries: Sequence[Entry]) -> list[Problem]:
    """Return why nothing could be assigned. Raises whatever is not a refusal."""
    match refused:
        case AllocationRefused():
            return [refusal(refused)]
        case BadAddresses():
            return bad_lines(refused.errors, entries)
        case TooManyAddresses():
            return [Problem(str(refused), "Assign them in several lists.", "addresses")]
        case reads.ContentUnavailable():
            sentence = "The catalog does not answer, and this content was never seen before."
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
        sentence = "It cost {requested_price_cents} when you chose it, and costs {catalog_price_cents} now."
        return Problem(sentence.format_map(amounts), "Choose it again at its new price.", "course")
    if "available_cents" in amounts:
        sentence = "This costs {requested_cents}, and {available_cents} are available."
        return Problem(sentence.format_map(amounts), refused.next_step, "addresses")
    field = "" if refused.reason in ABOUT_THE_BUDGET else "course"
    return Problem(refused.sentence, refused.next_step, field)


def bad_lines(errors: Mapping[int, str], entries: Sequence[Entry]) -> list[Problem]:
    """Return what is wrong with which lines; of very many, the first."""
    named = [
        Problem(f"Line {entries[position].line}, “{entries[position].text}”: {problem}", field="addresses")
        for position, problem in sorted(errors.items())[:MOST_LINES_NAMED]
    ]
    more = len(errors) - len(named)
    return [*named, Problem(f"{more:,} more cannot be used.", field="addresses")] if more else named


def judged(seen: Preview, entries: Sequence[Entry]) -> list[CheckedEntry]:
    """Return the verdict on every entry, in their order."""
    verdicts = {one.addressee.position: _verdict(one, entries) for one in seen.outcomes}
    return [
        CheckedEntry(entry, verdicts[position])
        if position in verdicts
        else CheckedEntry(entry, seen.bad_addresses[position], usable=False)
        for position, entry in enumerate(entries)
    ]


def _verdict(one: Match, entries: Sequence[Entry]) -> str:
    if one.duplicate_of is not None:
        return f"is the same learner as in line {entries[one.duplicate_of].line}"
    if one.assignment is None:
        return "will be assigned"
    known = f", to {one.assignment.learner_email}" if one.known_by_other_address else ""
    if one.verdict is Verdict.UNCHANGED:
        return f"is assigned already{known}, and costs nothing"
    return f"will be assigned again: it was {one.assignment.state}{known}"


def _learners(count: int) -> str:
    return f"{count:,} learner{pluralize(count)}"
