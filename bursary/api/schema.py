"""The OpenAPI schema's operations, with what each POST accepts besides its own parameters."""

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter

from bursary.api.views import HEADER, LONGEST_KEY, APIView

_KEY = OpenApiParameter(
    HEADER,
    {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
    OpenApiParameter.HEADER,
    description="Your name for this request: sent again with it, it is answered as before and not done twice",
)


class Schema(AutoSchema):
    """Describes the header `Idempotency-Key` of each POST that is done once."""

    def get_override_parameters(self) -> list[Any]:
        """Return the parameters that the view's code does not show."""
        return [_KEY] if self.method == "POST" and isinstance(self.view, APIView) else []
