"""The page to unsubscribe from reminders, by the link in one of them. GET shows, POST acts."""

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from bursary.access.links import LinkExpired, LinkRefused, LinkWithdrawn
from bursary.assignments import unsubscribing
from bursary.dashboard.headers import page
from bursary.dashboard.learner_views import SeeOther

ONE_CLICK = ("List-Unsubscribe", "One-Click")
"""The field that a mail reader sends when its own button is pressed, RFC 8058."""


@page
@csrf_exempt  # the link is the credential; a mail reader's button sends no cookie
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """Show whether the learner gets reminders. POST changes it, also by one click in a mail reader.

    GET changes nothing: virus scanners of mailboxes follow links.
    """
    now = timezone.now()
    try:
        mail = unsubscribing.opened(token, now=now)
    except LinkRefused as refused:
        status = HTTPStatus.GONE if isinstance(refused, LinkExpired | LinkWithdrawn) else HTTPStatus.NOT_FOUND
        response = render(request, "dashboard/link-refused.html", {"refused": refused}, status=status)
    else:
        one_click = request.POST.get(ONE_CLICK[0]) == ONE_CLICK[1]
        if one_click or request.POST.get("reminders") == "off":
            unsubscribing.unsubscribe(mail, now=now)
        elif request.POST.get("reminders") == "on":
            unsubscribing.subscribe(mail)
        if request.method == "POST" and not one_click:
            response = SeeOther(request.path)
        else:
            context = {"mail": mail, "unsubscribed": unsubscribing.is_unsubscribed(mail)}
            response = render(request, "dashboard/unsubscribe.html", context)
    response.headers["Referrer-Policy"] = "strict-origin"
    response.headers["X-Robots-Tag"] = "noindex"
    return response
