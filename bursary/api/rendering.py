"""JSON in DRF's format, rendered by orjson where possible, with instants and uuids as they are."""

from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework.renderers import JSONRenderer

_LINE_ENDS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))
"""Characters that DRF escapes, because JavaScript used to read them as the end of a line."""


class FastJSONRenderer(JSONRenderer):
    """Renders the same bytes as DRF's renderer, several times as fast.

    DRF's renderer is used for data that orjson does not support: numbers of more than 64 bits, keys that are
    not text, and indented output.
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
