"""The steps of bulk work in a browser: the selection, the question, the batches, and the result.

Each step passes its state to the next in a signed field, so that a form can neither forge the numbers done
nor skip the question.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.core import signing
from django.http import Http404, QueryDict
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bursary.access.models import User
from bursary.assignments import extension
from bursary.assignments.extension import Span
from bursary.assignments.failures import LONGEST_REASON
from bursary.budgets.models import LONGEST_AGE_DAYS
from bursary.dashboard import assignment_filters, bulk_questions, bulk_work
from bursary.dashboard.bulk_questions import QuestionScope
from bursary.dashboard.bulk_work import BatchResult, Extent, Verb
from bursary.lib import moments
from bursary.lib.numbers import from_digits

MAX_SELECTED = 1000  # assignments selected one by one; a page of the list has fewer
LONGEST_WORK = timedelta(days=1)  # the longest time between two steps
LONGEST_DEDUP_KEY = 64  # characters

_SALT = "bursary.bulk"


class BulkSteps:
    """Bulk work that a form requests: that of the list, the question or a later step. Raises Http404."""

    def __init__(self, posted: QueryDict, verb: Verb, *, user: User, now: datetime) -> None:
        self.verb, self.user, self.now = verb, user, now
        self.everything, self.query = bool(posted.get("everything")), posted.get("query", "")
        self.cursor = posted.get("cursor", "")
        self.uuids = [] if self.everything else uuids_of(posted)
        self.given = posted.get(verb.asks, "").strip()
        self.confirmed = from_digits(posted.get("confirmed", ""), max_digits=18)
        self.kept, self._agreed = posted.get("kept", ""), posted.get("agreed", "")
        self.so_far, self.after = BatchResult(), 0
        if self.everything:
            query = QueryDict(self.query)
            chosen = assignment_filters.selection(user, query, now=now, permission=verb.permission)
            self.rows = chosen.rows.filter(verb.applies)
        else:
            permitted = assignment_filters.of_budgets_of(user, (), permission=verb.permission)
            self.rows = permitted.filter(uuid__in=self.uuids)
        step = self._step(posted.get("step", ""))
        self.is_under_way = step is not None
        if step:
            self.confirmed, last, self.after, *counts = step
            self.so_far.done, self.so_far.unchanged, self.so_far.refused = counts
            self.extent = Extent(self.confirmed, last)
            self.rows = self.rows.filter(pk__lte=last)
        else:
            self.extent = bulk_work.extent(self.rows)
        self.count = self.extent.count

    @cached_property
    def problem(self) -> str:
        """What is wrong with the answer to the question; empty before it is answered."""
        if not self.verb.asks or self.confirmed is None:
            return ""
        if self.verb.asks == "reason":
            return "" if 0 < len(self.given) <= LONGEST_REASON else _("Give a reason, of a sentence or two.")
        first, last = self.days
        if self.given in set(Span):
            return ""
        try:
            if first <= date.fromisoformat(self.given) <= last:
                return ""
        except ValueError:
            pass
        words = {"first": moments.dated(first), "last": moments.dated(last)}
        return _("Give a day from %(first)s to %(last)s.") % words

    @property
    def is_confirmed(self) -> bool:
        """Whether the answer is complete and confirms the present number of assignments."""
        return not self.problem and self.confirmed == self.count and not self.partial_extension

    @cached_property
    def partial_extension(self) -> str:
        """A sentence on deadlines to be extended by less than requested; empty once the user agreed."""
        is_answered = not self.problem and self.confirmed == self.count and not self.is_under_way
        if self.verb.asks != "until" or not is_answered or not self.count:
            return ""
        first = self.rows.select_related("budget__customer").only("budget__customer__time_zone")[0]
        until = bulk_work.extended_to(self.given, zone=first.budget.customer.zone)
        # The question already names the assignments that cannot be extended at all.
        rows = extension.extensible(self.rows) if self.ready else self.rows
        sentence = bulk_questions.partial_extension(rows, until=until, now=self.now)
        return "" if self._agreed == sentence else sentence

    def do_batch(self) -> BatchResult:
        """Do the next batch, and return its result."""
        result = bulk_work.do_batch(
            self.verb,
            self.rows,
            after=self.after,
            given=self.given,
            now=self.now,
            actor=self.user,
            turn=self.so_far.done,
            dedup_key=f"{self.kept} {self.given}"[:LONGEST_DEDUP_KEY] if self.kept else "",
        )
        self.so_far.done += result.done
        self.so_far.unchanged += result.unchanged
        self.so_far.refused += result.refused
        self.after = result.last
        return result

    @property
    def fields(self) -> dict[str, list[str]]:
        """The form fields that request this work."""
        named = [str(uuid) for uuid in self.uuids]
        all_of_it = {"everything": ["yes"]} if self.everything else {"uuid": named}
        asked = {self.verb.asks: [self.given]} if self.verb.asks else {}
        place = {"query": [self.query], "cursor": [self.cursor]}
        return {"verb": [self.verb.name]} | place | all_of_it | asked

    @property
    def step(self) -> str:
        """The signed state for the form of the next step."""
        counts = [self.so_far.done, self.so_far.unchanged, self.so_far.refused]
        state = [self.confirmed, self.extent.last, self.after, *counts]
        return signing.dumps([*self._asked, *state], salt=_SALT)

    @property
    def question(self) -> str:
        """The question to confirm, or that there is nothing to do. At most two queries."""
        return self.verb.question(self.count) if self.ready else _("There is nothing to do")

    @cached_property
    def about(self) -> QuestionScope:
        """The learners, the course and the deadlines of the question."""
        return bulk_questions.scope_of(self.rows, now=self.now)

    @cached_property
    def failed(self) -> list[str]:
        """The failed work, as sentences, if the verb is about failed work."""
        is_repair = self.verb.name in ("retry", "skip")
        return bulk_questions.failures_in_words(self.rows) if is_repair else []

    @cached_property
    def caution(self) -> str:
        """What to consider before confirming; empty for nothing. At most three queries."""
        return self.verb.caution(self.rows, self.now)

    @cached_property
    def refusals(self) -> Mapping[str, int]:
        """The number of assignments that would be refused, by reason. At most two queries."""
        return self.verb.refusals(self.rows, self.now)

    @property
    def left_out(self) -> str:
        """A sentence on the number of assignments that would not change; empty if there are none."""
        if not (count := sum(self.refusals.values())):
            return ""
        if count == self.count:
            return ngettext("It is left as it is:", "All of them are left as they are:", count)
        text = ngettext("One of them is left as it is:", "%(count)s of them are left as they are:", count)
        return text % {"count": f"{count:,}"}

    @property
    def why_left_out(self) -> list[str]:
        """The reasons why assignments would not change, each as a sentence with the number."""
        return [f"{bulk_work.REFUSALS[why]} ({count:,})" for why, count in self.refusals.items()]

    @cached_property
    def ready(self) -> int:
        """The number of assignments to be changed, as they are now. At most two queries."""
        if self.verb.ready:
            return self.verb.ready(self.rows, self.now)
        return self.count - sum(self.refusals.values())

    @property
    def numbers(self) -> str:
        """The number to be changed, for the button; with the number of all if it differs."""
        if self.ready == self.count:
            return f"{self.count:,}"
        return _("%(some)s of %(all)s") % {"some": f"{self.ready:,}", "all": f"{self.count:,}"}

    @property
    def title(self) -> str:
        """The result if the work is finished, else the name of the work."""
        return str(self.verb.button) if self.after else self.verb.title(self.so_far, count=self.count)

    @property
    def rest(self) -> str:
        """The rest of the result, beside the title; empty for nothing."""
        return self.verb.rest_in_words(self.so_far)

    @property
    def worked_on(self) -> int:
        """The number of assignments processed so far."""
        return self.so_far.done + self.so_far.unchanged + self.so_far.refused

    @property
    def back(self) -> str:
        """The URL of the list."""
        return list_address(self.query, cursor=self.cursor)

    @property
    def days(self) -> tuple[date, date]:
        """The first and the last day that can be chosen."""
        today = self.now.date()
        return today, today + timedelta(days=LONGEST_AGE_DAYS)

    @property
    def _asked(self) -> list[Any]:
        return [self.user.pk, self.verb.name, self.everything, self.query, self.given]

    def _step(self, text: str) -> list[int] | None:
        """Return the state that an earlier step signed for the same request; None without one."""
        try:
            signed = signing.loads(text, salt=_SALT, max_age=LONGEST_WORK)
        except signing.BadSignature:
            return None
        asked = self._asked
        return signed[len(asked) :] if signed[: len(asked)] == asked else None


def list_address(query: str, *, cursor: str) -> str:
    """Return the URL of the list, at the page that a form was sent from."""
    page = urlencode({"cursor": cursor}) if cursor else ""
    return f"{reverse('assignment-list')}?{'&'.join(filter(None, [query, page]))}"


def uuids_of(posted: QueryDict) -> list[UUID]:
    """Return the uuids of a form. Raises Http404 if one is invalid."""
    try:
        return [UUID(text) for text in posted.getlist("uuid")[:MAX_SELECTED]]
    except ValueError as error:
        raise Http404("There is no such assignment.") from error
