"""The 404 for unknown URLs below the API, as JSON and for every method.

`permitted.py` has the 404 for a row that is not there, or is another customer's.
"""

from typing import Any, NoReturn

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView


@extend_schema(exclude=True)
class UnknownURL(APIView):
    """Answers 404 in the shape of every other refusal."""

    permission_classes = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise Http404 before authentication and method are checked."""
        raise Http404("The API has no such URL; /api/v1/docs/ lists all.")
