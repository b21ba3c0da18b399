"""The schema, and the page that describes the API by it, with a form to try each request: `/api/v1/docs/`."""

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
    """Open to all. A key that does not work is refused as at every URL: no renderer here could."""

    def handle_exception(self, exc: Exception) -> Response:
        """Return the refusal."""
        self.request.accepted_renderer = JSONRenderer()
        self.request.accepted_media_type = JSONRenderer.media_type
        return super().handle_exception(exc)


class Described(_RefusesInJson, SpectacularAPIView):
    """The schema, which is made once a process."""

    def _get_schema_response(self, request: Request) -> Response:
        return Response(schema())


class Docs(_RefusesInJson, SpectacularSwaggerSplitView):
    """The page, which uses what is served from here alone."""

    url_name = "schema"
    template_name = "api/description.html"


_MAKING = Lock()


def schema() -> Any:
    """Return the schema. One thread makes it: two would load drf-spectacular's extensions at once."""
    with _MAKING:
        return _made()


@cache
def _made() -> Any:
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # has none
