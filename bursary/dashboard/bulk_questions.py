"""The question before bulk work: its learners, its failed work, and warnings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import ceil

from django.db.models import Count, Max, Min, Q, QuerySet, Sum
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bursary.access import anonymisation
from bursary.assignments import content_display, error_texts, extension, failures, reminders
from bursary.assignments.choices import ActionType, State
from bursary.assignments.extension import Span
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.open_assignments import can_be_answered_sql
from bursary.dashboard.remedy_forms import SPANS
from bursary.lib import moments
from bursary.lib.money import dollars

MAX_LEARNERS, MAX_BUDGETS, MAX_CAUSES = 20, 20, 10  # named in a question
OLD_FAILURE_AGE = timedelta(days=30)  # the question before a retry warns of older failures


@dataclass(frozen=True)
class QuestionScope:
    """The assignments of a question, described in words."""

    learners: str
    course: str
    """The title of their course; empty if they are of several courses."""
    deadlines: str
    """The earliest and the latest deadline that can be extended, in words; empty if there is none."""
    spans: list[tuple[Span, str, str]]
    """The durations by which deadlines may be extended, in words, with the resulting days."""


def scope_of(rows: QuerySet[LearnerContentAssignment], *, now: datetime) -> QuestionScope:
    """Return the assignments of a question in words. At most four queries, and those of content reads."""
    first = rows.select_related("content", "budget__customer").defer("content__payload")
    named = list(first.order_by("pk")[:MAX_LEARNERS])
    if not named:
        return QuestionScope("", "", "", [])
    totals = rows.order_by().aggregate(
        count=Count("pk"), contents=Count("content_key", distinct=True), least=Min("content_key")
    )
    content_display.load_shown_content(named[:1], now=now)
    to_be_later = extension.extensible(rows).order_by()
    ends = to_be_later.aggregate(earliest=Min("expires_at"), latest=Max("expires_at"))
    zone = named[0].budget.customer.zone
    deadlines, spans = "", []
    if ends["latest"]:
        days = [moments.day_in_words(ends[name], zone=zone) for name in ("earliest", "latest")]
        words = {"first": days[0], "last": days[1]}
        same = days[0] == days[1]
        text = _("The deadline: %(last)s.") if same else _("The deadlines: from %(first)s to %(last)s.")
        deadlines = text % words
        local = [max(ends[name], now).astimezone(zone).date() for name in ("earliest", "latest")]
        spans = [(span, str(words), _days_in_words(span, local)) for span, words in SPANS.items()]
    course = ""
    if totals["contents"] == 1:
        shown = named[0].shown_content
        course = (shown.title if shown else "") or named[0].content_key
    return QuestionScope(
        learners=_learners(named, count=totals["count"]),
        course=course,
        deadlines=deadlines,
        spans=spans,
    )


def _days_in_words(span: Span, days: Sequence[date]) -> str:
    """Return the first and the last of the days after adding the span, in words."""
    first, last = (moments.dated(span.after(day)) for day in days)
    return first if first == last else _("%(first)s to %(last)s") % {"first": first, "last": last}


def partial_extension(
    rows: QuerySet[LearnerContentAssignment], *, until: datetime | Span, now: datetime
) -> str:
    """Return a sentence on the number extended by less than requested; empty if none is. One query."""
    if not (count := extension.only_partly_extensible(rows, until=until, now=now).order_by().count()):
        return ""
    return ngettext(
        "One of them is extended by less than that: "
        "enrolment in its course closes before, or its budget ends.",
        "%(count)s of them are extended by less than that: "
        "enrolment in their courses closes before, or their budget ends.",
        count,
    ) % {"count": count}


def _learners(first: list[LearnerContentAssignment], *, count: int) -> str:
    names = ", ".join(_isolated(anonymisation.shown_address(one.learner_email)) for one in first)
    if more := count - len(first):
        text = ngettext(
            "The learners: %(names)s and %(count)s more.", "The learners: %(names)s and %(count)s more.", more
        )
        return text % {"names": names, "count": more}
    return ngettext("The learner: %(names)s.", "The learners: %(names)s.", count) % {"names": names}


def reminded_lately(rows: QuerySet[LearnerContentAssignment], now: datetime) -> str:
    """Return a sentence on the number that cannot be reminded yet; empty if all can. Two queries."""
    mails = reminders.too_recent_mails(rows.order_by(), now=now)
    found = mails.aggregate(count=Count("assignment", distinct=True), latest=Max("created"))
    if not (count := found["count"]):
        return ""
    minutes = minutes_to_wait(found["latest"], now=now)
    if not to_be_reminded(rows, now):
        text = _(
            "No learner can be reminded now: each had an e-mail a moment ago. Come again in %(minutes)s min."
        )
        return text % {"minutes": minutes}
    text = ngettext(
        "One of them had an e-mail a moment ago, and gets no other one now. Come again in %(minutes)s min.",
        "%(count)s of them had an e-mail a moment ago, and get no other one now. "
        "Come again in %(minutes)s min.",
        count,
    )
    return text % {"count": count, "minutes": minutes}


def minutes_to_wait(requested: datetime, *, now: datetime) -> int:
    """Return the minutes after which a reminder may follow a mail requested at that time; at least one."""
    left = requested + reminders.REQUEST_INTERVAL - now
    return max(1, ceil(left / timedelta(minutes=1)))


def to_be_reminded(rows: QuerySet[LearnerContentAssignment], now: datetime) -> int:
    """Return the number of assignments to be reminded now, if their budgets are in use. One query."""
    waiting = rows.order_by().filter(can_be_answered_sql(now=now))
    mails = reminders.too_recent_mails(rows.order_by(), now=now)
    return waiting.exclude(pk__in=mails.values("assignment")).count()


def ended_by_state(rows: QuerySet[LearnerContentAssignment]) -> dict[str, int]:
    """Return the number of assignments that are not open any more, by state. One query."""
    not_open = rows.exclude(state=State.ALLOCATED).order_by()
    return dict(not_open.values_list("state").annotate(count=Count("pk")).order_by("-count", "state"))


def failures_in_words(rows: QuerySet[LearnerContentAssignment]) -> list[str]:
    """Return a sentence for each kind of failed work and its cause, the most frequent first. One query."""
    failed = failures.to_repair().filter(assignment__in=rows.order_by().values("pk")).order_by()
    counted = failed.values_list("action_type", "error_code").annotate(count=Count("pk"))
    return [
        _("%(work)s (%(count)s): %(why)s")
        % {"work": error_texts.WORK_IN_WORDS[kind], "count": count, "why": error_texts.for_code(code).clause}
        for kind, code, count in counted.order_by("-count", "action_type", "error_code")[:MAX_CAUSES]
    ]


def old_failures(rows: QuerySet[LearnerContentAssignment], now: datetime) -> str:
    """Return a sentence that names the learners with an old failure: a retry may surprise them.

    Empty if there are none. At most two queries.
    """
    failed = failures.to_repair().filter(assignment__in=rows.order_by().values("pk"))
    by_others = failed.filter(~failures.too_late(now), ~Q(action_type=ActionType.REDEEMED))
    old = rows.filter(
        pk__in=by_others.filter(completed_at__lte=now - OLD_FAILURE_AGE).values("assignment")
    ).order_by()
    if not (count := old.count()):
        return ""
    addresses = old.order_by("pk").values_list("learner_email", flat=True)[:MAX_LEARNERS]
    names = [_isolated(anonymisation.shown_address(one)) for one in addresses]
    more = [_("%(count)s more") % {"count": count - len(names)}] if count > len(names) else []
    return ngettext(
        "One of those that are retried failed more than %(days)s days ago, and its learner may not "
        "expect a mail about it any more: %(names)s. To leave it out, select only the others in the list, "
        "or skip it.",
        "%(count)s of those that are retried failed more than %(days)s days ago, and their learners may not "
        "expect a mail about it any more: %(names)s. To leave them out, select only the others in the list, "
        "or skip these.",
        count,
    ) % {"count": count, "days": OLD_FAILURE_AGE.days, "names": ", ".join([*names, *more])}


def freed_money(rows: QuerySet[LearnerContentAssignment], _now: datetime) -> str:
    """Return a sentence on the money that becomes free, by budget. Two queries."""
    still_open = rows.filter(state=State.ALLOCATED).order_by()
    all_of_it = {"count": Count("pk"), "cents": Sum("price_cents"), "budgets": Count("budget", distinct=True)}
    total = still_open.aggregate(**all_of_it)
    if not total["count"]:
        return ""
    by_budget = still_open.values_list("budget__name", "budget").annotate(cents=Sum("price_cents"))
    money = [(name, cents) for name, _pk, cents in by_budget.order_by("-cents", "budget")[:MAX_BUDGETS]]
    freed = ", ".join(f"{dollars(cents)} ({_isolated(name)})" for name, cents in money)
    if more := total["budgets"] - len(money):
        rest = dollars(total["cents"] - sum(cents for _name, cents in money))
        others = ngettext("%(money)s (%(count)s more budget)", "%(money)s (%(count)s more budgets)", more)
        freed = f"{freed}, {others % {'money': rest, 'count': more}}"
    words = {"all": dollars(total["cents"]), "freed": freed}
    if total["budgets"] == 1:
        return _("What comes free: %(freed)s.") % words
    return _("What comes free: %(all)s, that is %(freed)s.") % words


def _isolated(name: str) -> str:
    """Return a name in marks that isolate its writing direction from that of the sentence."""
    return f"\u2068{name}\u2069"
