"""The schema, and `/api/v1/docs/`, the page that shows it with a form to try each request."""

from functools import cache
from threading import Lock
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class _RefusesInJson(APIView):
    """A view that is open to all. It refuses a wrong key in JSON, which its own renderers cannot."""

    def handle_exception(self, exc: Exception) -> Response:
        """Return the refusal as JSON."""
        self.request.accepted_renderer = JSONRenderer()
        self.request.accepted_media_type = JSONRenderer.media_type
        return super().handle_exception(exc)


class Described(_RefusesInJson, SpectacularAPIView):
    """The schema, which each process makes once."""

    def _get_schema_response(self, request: Request) -> Response:
        return Response(schema())


class Docs(_RefusesInJson, SpectacularSwaggerSplitView):
    """The page. Its styles and scripts are served by Bursary."""

    url_name = "schema"
    template_name = "api/description.html"


_MAKING = Lock()


def schema() -> Any:
    """Return the schema. One thread makes it, as two would load drf-spectacular's extensions at once."""
    with _MAKING:
        return _made()


@cache
def _made() -> Any:
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # has none
