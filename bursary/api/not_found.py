"""Addresses that the API does not have: a JSON answer, whatever the method."""

from typing import Any, NoReturn

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView


@extend_schema(exclude=True)
class UnknownAddress(APIView):
    """Answers 404 with the API's own kind of refusal."""

    permission_classes = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse before anything else is looked at."""
        raise Http404("The API has no such address; /api/v1/docs/ lists what it has.")
