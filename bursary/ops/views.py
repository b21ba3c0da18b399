"""Health and metrics over HTTP."""

from dataclasses import asdict

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from bursary.ops import health
from bursary.ops import metrics as figures


@never_cache
@require_safe
def healthz(_request: HttpRequest) -> JsonResponse:
    """Return figures and problem codes, with status 503 if the service is unwell, else 200; needs no key."""
    found = health.examine(now=timezone.now())
    return JsonResponse(asdict(found), status=503 if found.status == health.UNWELL else 200)


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Return figures for Prometheus to a request with the token; 404 if the settings have no token."""
    if not settings.METRICS_TOKEN:
        raise Http404("There are no metrics without BURSARY_METRICS_TOKEN.")
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not constant_time_compare(token.strip(), settings.METRICS_TOKEN):
        challenge = {"WWW-Authenticate": 'Bearer realm="Bursary metrics"'}
        return HttpResponse(
            "Send Authorization: Bearer <BURSARY_METRICS_TOKEN>.\n", status=401, headers=challenge
        )
    return HttpResponse(figures.exposition(now=timezone.now()), content_type=figures.CONTENT_TYPE)
