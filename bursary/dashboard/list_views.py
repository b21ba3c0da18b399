"""An administrator's lists: assignments, work on those that are selected, and budgets."""

from http import HTTPStatus
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from bursary.access.models import User
from bursary.access.permissions import Permission, may_anywhere
from bursary.assignments import csv_export
from bursary.dashboard import assignment_filters, assignment_list, budget_pages, bulk_steps, bulk_work
from bursary.dashboard import totals as totals_of
from bursary.dashboard.bulk_steps import BulkSteps
from bursary.dashboard.headers import page
from bursary.dashboard.learner_views import SeeOther


@page
@require_safe
@login_required
def assignments(request: HttpRequest) -> HttpResponse:
    """List the assignments of the user's budgets as the address filters and sorts them."""
    shorter = assignment_list.without_empty(request.GET)
    if shorter is not None:  # a form without a script sends each of its fields
        return redirect(f"{request.path}?{shorter}" if shorter else request.path)
    listed = assignment_list.load(_user(request), request.GET, now=timezone.now())
    context = {"page": listed, "verbs": bulk_work.VERBS.values()}
    return render(request, "dashboard/assignment_list.html", context)


@page
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def export(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """Export all assignments that the address finds as CSV; by POST, the selected ones. It is logged.

    An address that cannot be read is answered 400, by the list with the reason.
    """
    user, now = _user(request), timezone.now()
    query = QueryDict(request.POST["query"]) if "query" in request.POST else request.GET
    chosen = assignment_filters.selection(user, query, now=now)
    rows, filters = chosen.rows, assignment_list.changed(query)
    if request.method == "POST" and not request.POST.get("everything"):
        uuids = bulk_steps.uuids_of(request.POST)
        if not uuids:
            return _nothing_selected(request, f"{reverse('assignment-list')}?{filters}")
        permitted = assignment_filters.of_budgets_of(user, (), permission=Permission.READ_ASSIGNMENTS)
        rows, filters = permitted.filter(uuid__in=uuids), "selected by hand"
    elif chosen.problems:
        listed = assignment_list.load(user, query, now=now)
        context = {"page": listed, "verbs": bulk_work.VERBS.values()}
        return render(request, "dashboard/assignment_list.html", context, status=HTTPStatus.BAD_REQUEST)
    file = csv_export.export(rows, user=user, filters=filters, zone=chosen.zone, now=now)
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
    work = BulkSteps(request.POST, verb, user=_user(request), now=timezone.now())
    if not (work.everything or work.uuids):
        return _nothing_selected(request, work.back)
    if not (work.count or work.after):
        messages.info(request, _("Nothing that is selected can be changed by this: nothing was done."))
        return SeeOther(work.back)
    if work.is_confirmed:
        context = {"work": work, "batch": work.do_batch(), "part": _is_part(request)}
        template = "dashboard/parts/bulk_step.html" if context["part"] else "dashboard/bulk_result.html"
        return render(request, template, context)
    changed = work.confirmed is not None and work.confirmed != work.count
    status = HTTPStatus.CONFLICT if changed else HTTPStatus.OK
    status = HTTPStatus.UNPROCESSABLE_ENTITY if work.problem else status
    return render(request, "dashboard/bulk_confirm.html", {"work": work, "changed": changed}, status=status)


@page
@require_safe
@login_required
def totals(request: HttpRequest) -> HttpResponse:
    """Show what the list's address finds, added up: by budget and by month."""
    found = totals_of.load(_user(request), request.GET, now=timezone.now())
    context = {"totals": found, "query": assignment_list.changed(request.GET)}
    return render(request, "dashboard/totals.html", context)


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


def _nothing_selected(request: HttpRequest, back: str) -> HttpResponse:
    messages.warning(request, _("Select some assignments first, or all that the filter finds."))
    return SeeOther(back)


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # noqa: S101  # login_required sees to it
    return request.user


def _is_part(request: HttpRequest) -> bool:
    """Return whether a part of a page is asked for, by htmx."""
    return bool(request.headers.get("HX-Request"))
