"""Pages that are sent in two parts: the beginning at once, then the part that takes long to load."""

import logging
from collections.abc import Callable, Iterator, Mapping

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from bursary.lib import logs
from bursary.lib.database_errors import is_outage

_PLACE = SafeString("<!-- the late part -->")

logger = logging.getLogger(__name__)


def page_with_late_part(
    request: HttpRequest,
    template: str,
    context: Mapping[str, object],
    *,
    part: str,
    load: Callable[[], Mapping[str, object]],
) -> HttpResponse | StreamingHttpResponse:
    """Return a page that has the template `part` in the place of `late`; for htmx, only the part.

    `load` returns the part's context. On a page it is called after the beginning was sent, too late for an
    error page: a database error is logged, and shown in the place of the part.
    """
    if request.headers.get("HX-Request"):
        return render(request, part, load())
    begins, ends = render_to_string(template, {**context, "late": _PLACE}, request).split(_PLACE)

    def pieces() -> Iterator[str]:
        yield begins
        try:
            late = render_to_string(part, {**context, **load()}, request)
        except Exception as error:
            if not is_outage(error):
                raise
            logs.log_failure(f"A part of the page {request.path} could not be loaded", error, log=logger)
            late = render_to_string("dashboard/parts/not_loaded.html", {}, request)
        yield late + ends

    return StreamingHttpResponse(pieces())
