"""The raw bodies of signed requests. The length is checked before a body is read."""

from rest_framework.request import Request

from bursary.api.refusals import BodyTooLarge, LengthRequired
from bursary.lib.numbers import from_digits


def raw_body(request: Request, *, limit: int) -> bytes:
    """Return the raw body, of at most `limit` bytes.

    Raises LengthRequired or BodyTooLarge before reading it.
    """
    if "HTTP_TRANSFER_ENCODING" in request.META and not request.META.get("CONTENT_LENGTH"):
        raise LengthRequired  # Django would read an empty body, with a wrong signature
    announced = from_digits(request.META.get("CONTENT_LENGTH") or "0", max_digits=20)
    if announced is None or announced > limit:
        raise BodyTooLarge(f"The body is larger than {limit} bytes.")
    body: bytes = request.body
    return body
