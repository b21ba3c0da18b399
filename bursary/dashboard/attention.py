"""Notices that need an administrator's attention: each has a sentence, and a link or button to act on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.db.models import Count, F, Max, Q, QuerySet, Sum
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bursary.access.models import User
from bursary.access.permissions import Permission, granted, may_everywhere
from bursary.assignments import administrator_notices, content_display, error_texts, failures_by_code
from bursary.assignments.choices import LearnerState, NoticeReason, State
from bursary.assignments.failures_by_code import RepairableFailures
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.dashboard.money_bars import money_bar
from bursary.delivery import mail_server
from bursary.lib import moments
from bursary.lib.money import dollars

SOON = timedelta(days=7)
REMINDED_LATELY = timedelta(days=3)
ENDS_SOON = timedelta(days=30)
NEARLY_SPENT = 10  # per cent of the limit, or less, are still free
MAX_CAUSES = 10
MAX_NOTICES = 200


@dataclass(frozen=True)
class Attention:
    """A notice. `about` is a name or title from user data; empty for none.

    `verb` is the button's bulk work on the assignments that match `query`; without one, there is only the
    link.
    """

    icon: str
    kind: str
    sentence: str
    url: str
    link: str
    about: str = ""
    verb: str = ""
    button: str = ""
    query: str = ""
    quiet: bool = False
    """Whether the work was done lately: the notice comes last, and its button is a secondary one."""


def items(
    user: User,
    budgets: Sequence[Budget],
    rows: QuerySet[LearnerContentAssignment],
    *,
    zone: ZoneInfo,
    now: datetime,
) -> list[Attention]:
    """Return the notices on the user's budgets; `rows` are their assignments. Five queries.

    What concerns one budget is dated in its organisation's time zone, what may concern several in `zone`.
    """
    operates = may_everywhere(user)
    may_see = granted(user, Permission.READ_ASSIGNMENTS, customer="budget__customer")
    notices = administrator_notices.current(now).filter(may_see)[:MAX_NOTICES]
    found = [
        *_mail_trouble(budgets, operates=operates, zone=zone),
        *_failures(budgets, operates=operates, zone=zone, now=now),
        *(_complaint(one) if one.reason == NoticeReason.MAIL_UNWANTED else _notice(one) for one in notices),
        *_deadlines(rows, now=now),
        *(one for budget in budgets for one in _of_budget(budget, now=now)),
    ]
    return sorted(found, key=lambda one: one.quiet)


def _mail_trouble(budgets: Sequence[Budget], *, operates: bool, zone: ZoneInfo) -> list[Attention]:
    """Return the notice that mails wait for the mail server, with the time and the cause."""
    server = mail_server.in_trouble()
    if server is None or not server.trouble_since or not budgets:
        return []
    since = moments.in_words(server.trouble_since, zone=zone)
    words = {"since": since, "why": error_texts.for_code(server.error_code).sentence}
    sentence = _(
        "Mails have been delayed since %(since)s. %(why)s That is no learner's fault, and no mail is lost: "
        "they are sent as soon as that is possible. Ask the operator of this service."
    )
    if operates:
        sentence = _(
            "Mails have been delayed since %(since)s. %(why)s No mail is lost: they are sent as soon as that "
            "is possible. The command “bursary status” says what is at fault."
        )
    url = f"{reverse('assignment-list')}?{urlencode({'status': 'notifying'})}"
    return [Attention("mail-off", "warning", sentence % words, url, _("Show what waits"))]


def _failures(budgets: Sequence[Budget], *, operates: bool, zone: ZoneInfo, now: datetime) -> list[Attention]:
    found = []
    for one in failures_by_code.repairable(budgets, now=now)[:MAX_CAUSES]:
        why = error_texts.for_code(one.error_code)
        query = urlencode({"cause": one.error_code})
        verb = "retry" if why.retried and one.retryable else ""
        next_step = why.next_step_of(operates=operates)
        if one.skippable and not one.retryable:
            verb, next_step = "skip", _("It is too late to do it again: skip it.")
        elif one.of_ended == one.skippable and verb == "retry":
            verb, next_step = "skip", _("The assignments have ended: look at them, or skip it.")
        found.append(
            Attention(
                icon="alert-triangle",
                kind="danger",
                sentence=f"{_what_failed(one, zone=zone)} {why.sentence} {next_step}",
                url=f"{reverse('assignment-list')}?{query}",
                link=_show(one.count),
                verb=verb,
                button=_("Skip") if verb == "skip" else _("Retry"),
                query=query,
            )
        )
    return found


def _what_failed(one: RepairableFailures, *, zone: ZoneInfo) -> str:
    """Return a sentence with the failed work, the number of its assignments, and its time."""
    since = moments.dated(one.since.astimezone(zone))
    if len(one.by_work) == 1:
        work = ", ".join(str(error_texts.WORK_IN_WORDS[kind]) for kind in one.by_work)
        words = ngettext(
            "%(work)s failed for %(count)s assignment on %(since)s.",
            "%(work)s failed for %(count)s assignments, since %(since)s.",
            one.count,
        )
        return words % {"work": work, "count": one.count, "since": since}
    works = [
        (error_texts.within_sentence(error_texts.WORK_IN_WORDS[kind]), count)
        for kind, count in one.by_work.items()
    ]
    each = ", ".join(f"{work}: {count}" for work, count in works)
    words = ngettext(
        "Something failed for %(count)s assignment, since %(since)s (%(each)s).",
        "Something failed for %(count)s assignments, since %(since)s (%(each)s).",
        one.count,
    )
    return words % {"count": one.count, "since": since, "each": each}


def _complaint(notice: AdministratorNotice) -> Attention:
    sentence = ngettext(
        "%(count)s learner reported a mail as unwanted on %(day)s, and gets no reminders any more. "
        "Ask in another way whether to go on, or cancel the assignment.",
        "%(count)s learners reported mails as unwanted since %(day)s, and get no reminders any more. "
        "Ask in another way whether to go on, or cancel the assignments.",
        notice.assignments,
    )
    day = moments.day_in_words(notice.created, zone=notice.budget.customer.zone)
    words = {"count": notice.assignments, "day": day}
    title, url = _title_and_list(notice)
    return Attention("mail-off", "warning", sentence % words, url, _("Show the course"), about=title)


def _title_and_list(notice: AdministratorNotice) -> tuple[str, str]:
    """Return the title of a notice's content, and the URL of the list of its assignments."""
    asked: dict[str, Any] = {"budget": notice.budget.uuid}
    if notice.content:
        asked["content_key"] = notice.content.content_key
    title = content_display.notice_title(notice) or _("All content")
    return title, f"{reverse('assignment-list')}?{urlencode(asked)}"


def _notice(notice: AdministratorNotice) -> Attention:
    if notice.reason:
        sentence = ngettext(
            "%(count)s open assignment cannot be accepted any more. %(why)s",
            "%(count)s open assignments cannot be accepted any more. %(why)s",
            notice.assignments,
        )
    else:
        sentence = ngettext(
            "The deadline was brought forward: %(count)s open assignment will expire after %(until)s.",
            "The deadline was brought forward: %(count)s open assignments will expire after %(until)s.",
            notice.assignments,
        )
    zone = notice.budget.customer.zone
    until = moments.in_words(notice.no_expiry_before, zone=zone) if notice.no_expiry_before else ""
    words = {"count": notice.assignments, "until": until, "why": notice.get_reason_display()}
    title, url = _title_and_list(notice)
    query = url.partition("?")[2]
    link = _show(notice.assignments)
    return Attention("calendar-due", "warning", sentence % words, url, link, about=title, query=query)


@dataclass(frozen=True)
class _NearDeadlines:
    """Figures of the assignments with a deadline soon, of the organisations in one time zone."""

    time_zone: str
    count: int
    cents: int
    waiting: int
    reminded_lately: int
    last_reminder: datetime | None


def _near_deadlines(rows: QuerySet[LearnerContentAssignment], *, now: datetime) -> list[_NearDeadlines]:
    soon = rows.filter(state=State.ALLOCATED, expires_at__gt=now, expires_at__lte=now + SOON).order_by()
    reminded = Q(recent_action_at__gt=F("allocated_at"))
    found = soon.values(time_zone=F("budget__customer__time_zone")).annotate(
        count=Count("pk"),
        cents=Sum("price_cents"),
        waiting=Count("pk", filter=Q(learner_state=LearnerState.WAITING)),
        reminded_lately=Count("pk", filter=reminded & Q(recent_action_at__gt=now - REMINDED_LATELY)),
        last_reminder=Max("recent_action_at", filter=reminded),
    )
    return [_NearDeadlines(**figures) for figures in found]


def _deadlines(rows: QuerySet[LearnerContentAssignment], *, now: datetime) -> list[Attention]:
    found = _near_deadlines(rows, now=now)
    count = sum(one.count for one in found)
    if not count:
        return []
    sentence = ngettext(
        "%(count)s assignment has its deadline in the next seven days. "
        "%(money)s comes free if it is not accepted.",
        "%(count)s assignments have their deadline in the next seven days. "
        "%(money)s comes free if they are not accepted.",
        count,
    ) % {"count": count, "money": dollars(sum(one.cents for one in found))}
    if reminders := [(one.last_reminder, one.time_zone) for one in found if one.last_reminder]:
        at, zone = max(reminders)
        last = moments.in_words(at, zone=ZoneInfo(zone))
        sentence += " " + _("The last reminder was sent on %(last)s.") % {"last": last}
    query = urlencode({"within": SOON.days, "sort": "expires_at"})
    url = f"{reverse('assignment-list')}?{query}"
    return [
        Attention(
            "hourglass",
            "warning",
            sentence,
            url,
            _show(count),
            verb="remind",
            button=_("Remind"),
            query=query,
            quiet=sum(one.reminded_lately for one in found) >= sum(one.waiting for one in found) > 0,
        )
    ]


def _show(count: int) -> str:
    """Return the text of the link to so many assignments."""
    return ngettext("Show it", "Show them", count)


def _of_budget(budget: Budget, *, now: datetime) -> list[Attention]:
    """Return the notice that an open budget ends soon with money left, or is nearly spent."""
    money, url = money_bar(budget), reverse("budget", args=[budget.uuid])
    if budget.not_in_use(now):
        return []
    if budget.ends_at and budget.ends_at <= now + ENDS_SOON and money.free_cents != 0:
        until = moments.in_words(budget.ends_at, zone=budget.customer.zone)
        words = {"until": until, "free": dollars(money.free_cents)}
        sentence = _("The budget ends on %(until)s. Still free: %(free)s.") % words
    elif (
        money.whole_cents
        and money.free_cents is not None
        and money.free_cents * 100 <= money.whole_cents * NEARLY_SPENT
    ):
        words = {"free": dollars(money.free_cents), "limit": dollars(money.whole_cents)}
        sentence = _("The budget is nearly used up: %(free)s of %(limit)s is free.") % words
    else:
        return []
    return [Attention("wallet", "info", sentence, url, _("Show the budget"), about=budget.name)]
