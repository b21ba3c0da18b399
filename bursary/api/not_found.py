"""The 404 for unknown URLs below the API, as JSON and for every method.

`permitted.py` has the 404 for a row that does not exist, or belongs to another customer.
"""

from typing import Any, NoReturn

from django.http import Http404
from django.urls import resolve
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from bursary.api.refusals import SlashMissing


@extend_schema(exclude=True)
class UnknownURL(APIView):
    """Responds with 404 in the same form as every other refusal."""

    permission_classes = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise Http404 before the authentication and the method are checked."""
        with_slash = resolve(f"{request.path_info}/").func
        if request.path_info.endswith("/") or getattr(with_slash, "view_class", None) is UnknownURL:
            raise Http404("The API has no such URL; /api/v1/docs/ lists all.")
        raise SlashMissing
