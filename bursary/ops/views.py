"""The operator's door over HTTP."""

from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from bursary.ops import health


@never_cache
@require_safe
def healthz(_request: HttpRequest) -> JsonResponse:
    """Answer 200 while all is well and 503 while it is not, with figures; open to everybody."""
    found = health.examine(now=timezone.now())
    return JsonResponse(found.summary(), status=200 if found.well else 503)
