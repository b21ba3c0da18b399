"""The client's address behind proxies, instead of the nearest proxy's."""

import ipaddress
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def client_address(get_response: GetResponse) -> GetResponse:
    """Return the middleware that sets `REMOTE_ADDR` to the client's address, as the outermost proxy saw it.

    The access log reads it there as well. A client's own `X-Forwarded-For` comes before the addresses that
    the proxies add, and is ignored.
    """

    def respond(request: HttpRequest) -> HttpResponseBase:
        forwarded = request.headers.get("X-Forwarded-For", "")
        if address := forwarded_address(forwarded, proxies=settings.PROXIES):
            request.META["REMOTE_ADDR"] = address
        return get_response(request)

    return respond


def forwarded_address(forwarded: str, *, proxies: int) -> str:
    """Return the address that the outermost of `proxies` added; empty if there is none."""
    added = forwarded.split(",")
    if not 0 < proxies <= len(added):
        return ""
    text = added[-proxies].strip()
    if text.startswith("["):  # [2001:db8::1]:4711
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # 192.0.2.1:4711
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
