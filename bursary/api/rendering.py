"""JSON as DRF renders it, by orjson where it can: instants and uuids are written as they are."""

from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework.renderers import JSONRenderer

_LINE_ENDS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))
"""What DRF escapes, because JavaScript took it for the end of a line."""


class FastJSONRenderer(JSONRenderer):
    """Renders the bytes that DRF's renderer gives, several times as fast.

    What orjson does not write is DRF's to render: numbers of more than 64 bits, keys that are no text, and
    what is to be indented.
    """

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return `data` as JSON in UTF-8; nothing for None."""
        indent = self.get_indent(accepted_media_type or "", {**(renderer_context or {})})
        if data is None or indent is not None:
            return super().render(data, accepted_media_type, renderer_context)
        try:
            found = orjson.dumps(data, default=self.encoder_class().default, option=orjson.OPT_UTC_Z)
        except orjson.JSONEncodeError:
            return super().render(data, accepted_media_type, renderer_context)
        for character, escaped in _LINE_ENDS:
            found = found.replace(character, escaped)
        return found
