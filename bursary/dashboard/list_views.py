"""An administrator's lists: assignments, work on those that are selected, and budgets."""

from http import HTTPStatus
from uuid import UUID
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from bursary.access.models import User
from bursary.access.permissions import Permission, may_anywhere
from bursary.assignments import csv_export
from bursary.dashboard import assignment_filters, assignment_list, budget_pages, bulk_work
from bursary.dashboard.bulk_work import BatchResult, Extent, Verb
from bursary.dashboard.headers import page
from bursary.dashboard.learner_views import SeeOther
from bursary.lib import moments
from bursary.lib.moments import MomentUnreadable

# A day that can be read in both can be read in the zone of every organisation.
_FIRST_AND_LAST_ZONE = (ZoneInfo("Pacific/Kiritimati"), ZoneInfo("Etc/GMT+12"))
MOST_SELECTED = 1000  # by name; a page of the list has fewer


@page
@require_safe
@login_required
def assignments(request: HttpRequest) -> HttpResponse:
    """List the assignments of the user's budgets as the address filters and sorts them."""
    listed = assignment_list.load(_user(request), request.GET, now=timezone.now())
    context = {"page": listed, "verbs": bulk_work.VERBS.values()}
    return render(request, "dashboard/assignment_list.html", context)


@page
@require_safe
@login_required
def export(request: HttpRequest) -> StreamingHttpResponse:
    """Export all assignments that the address finds, as CSV. It is logged."""
    user, now = _user(request), timezone.now()
    chosen = assignment_filters.selection(user, request.GET, now=now)
    file = csv_export.export(
        chosen.rows, user=user, filters=assignment_list.changed(request.GET), zone=chosen.zone, now=now
    )
    headers = {"Content-Disposition": f'attachment; filename="{file.file_name}"'}
    return StreamingHttpResponse(file.lines, content_type=file.content_type, headers=headers)


@page
@require_POST
@login_required
def selected(request: HttpRequest) -> HttpResponse:
    """Ask whether to do something to the selected assignments; once it is confirmed, do it.

    Of all that a filter finds, a batch: the answer has a form for the next one. Where their number is not
    the confirmed one any more, nothing is done and the question is asked anew, 409.
    """
    verb = bulk_work.VERBS.get(request.POST.get("verb", ""))
    if verb is None:
        raise Http404("There is no such action.")
    work = _Selected(request, verb)
    if not (work.count or work.after):
        messages.info(request, _("Nothing that is selected can be changed by this: nothing was done."))
        return SeeOther(work.back)
    if not work.problem and (work.after or work.confirmed == work.count):
        now, user = timezone.now(), _user(request)
        result = bulk_work.do_batch(verb, work.rows, after=work.after, until=work.until, now=now, actor=user)
        work.add(result)
        template = "dashboard/parts/bulk_step.html" if _is_part(request) else "dashboard/bulk_result.html"
        return render(request, template, {"work": work, "refused": result.refused})
    changed = work.confirmed is not None and work.confirmed != work.count
    context = {"work": work, "changed": changed}
    status = HTTPStatus.CONFLICT if changed else HTTPStatus.OK
    status = HTTPStatus.UNPROCESSABLE_ENTITY if work.problem else status
    return render(request, "dashboard/bulk_confirm.html", context, status=status)


@page
@require_safe
@login_required
def budgets(request: HttpRequest) -> HttpResponse:
    """List the budgets that the user administers, in pages."""
    user, number = _user(request), request.GET.get("page", "1")
    if not may_anywhere(user, Permission.READ_BUDGET):
        raise Http404("There are no budgets to administer.")
    found = budget_pages.budget_list(user, number=number, now=timezone.now())
    return render(request, "dashboard/budgets.html", {"budgets": found})


@page
@require_safe
@login_required
def budget(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Show a budget of the user's: its money, and what comes free when."""
    found = budget_pages.load(_user(request), uuid, now=timezone.now())
    if found is None:
        raise Http404("There is no such budget.")
    return render(request, "dashboard/budget.html", {"page": found})


@page
@require_safe
@login_required
def spendings(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Show what a budget of the user's was spent on: a page, or the part of the budget's page."""
    found = budget_pages.spendings(_user(request), uuid)
    if found is None:
        raise Http404("There is no such budget.")
    template = "dashboard/parts/spent.html" if _is_part(request) else "dashboard/spent.html"
    return render(request, template, {"page": found})


class _Selected:
    """What a form of the list asks for, or the question or the step that followed it."""

    def __init__(self, request: HttpRequest, verb: Verb) -> None:
        posted, user = request.POST, _user(request)
        self.verb, self.everything = verb, bool(posted.get("everything"))
        self.query = posted.get("query", "")
        self.uuids = [] if self.everything else _uuids(posted.getlist("uuid"))
        self.confirmed, self.after = _number(posted, "confirmed"), _number(posted, "after") or 0
        if self.confirmed is None:
            self.after = 0  # no step follows a question that was not answered
        if self.everything:
            query = QueryDict(self.query)
            chosen = assignment_filters.selection(user, query, now=timezone.now(), permission=verb.permission)
            self.rows = chosen.rows.filter(verb.applies)
        else:
            permitted = assignment_filters.of_budgets_of(user, (), permission=verb.permission)
            self.rows = permitted.filter(uuid__in=self.uuids)
        last = _number(posted, "last") if self.after else None
        extent = Extent(self.confirmed or 0, last) if last else bulk_work.extent(self.rows)
        self.count, self.last = extent.count, extent.last or 0
        if self.after:
            self.rows = self.rows.filter(pk__lte=self.last)
        self.so_far = BatchResult(_number(posted, "done") or 0, _number(posted, "unchanged") or 0)
        self.refused = _number(posted, "refused") or 0
        self.until = posted.get("until", "").strip()
        self.problem = ""
        if verb.needs_day and self.confirmed is not None:
            try:
                for zone in _FIRST_AND_LAST_ZONE:
                    moments.read(self.until, zone=zone, end_of_day=True)
            except MomentUnreadable:
                self.problem = _("Give a day.")

    def add(self, result: BatchResult) -> None:
        """Add the result of a batch, and go on after it."""
        self.so_far.done += result.done
        self.so_far.unchanged += result.unchanged
        self.refused += len(result.refused)
        self.after = result.last

    @property
    def question(self) -> str:
        """The question before it is done."""
        return self.verb.question(self.count)

    @property
    def summary(self) -> str:
        """What was done so far, as a sentence or two."""
        return self.verb.in_words(self.so_far)

    @property
    def worked_on(self) -> int:
        """The number of assignments that were looked at so far."""
        return self.so_far.done + self.so_far.unchanged + self.refused

    @property
    def back(self) -> str:
        """The address of the list."""
        return f"{reverse('assignment-list')}?{self.query}"


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # noqa: S101  # login_required sees to it
    return request.user


def _is_part(request: HttpRequest) -> bool:
    """Return whether a part of a page is asked for, by htmx."""
    return bool(request.headers.get("HX-Request"))


def _uuids(texts: list[str]) -> list[UUID]:
    """Return the uuids of a form; of a text that is none, nothing can be found. Raises Http404."""
    try:
        return [UUID(text) for text in texts[:MOST_SELECTED]]
    except ValueError as error:
        raise Http404("There is no such assignment.") from error


def _number(posted: QueryDict, name: str) -> int | None:
    """Return a whole number of a form; None where it is missing or none."""
    text = posted.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None
