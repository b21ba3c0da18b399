"""The CSRF token, which Open edX's web clients request from `/csrf/api/v1/token` before their first POST."""

from django.middleware.csrf import get_token
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


@method_decorator(never_cache, name="dispatch")
class CsrfToken(APIView):
    """Return the token to send as `X-CSRFToken`, and set the cookie that it must match. Open to all."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(exclude=True)  # it is not part of the API
    def get(self, request: Request) -> Response:
        return Response({"csrfToken": get_token(request._request)})
