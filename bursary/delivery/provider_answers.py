"""Mail providers' answers over HTTP as DeliveryErrors, with the codes used for mail servers (decision 0015).

The statuses 401 to 404 are about this service's account, 429 about its limit, 5xx about the provider. Only
400, 413 and 422 are about the mail itself: then the text of the answer decides, as with a mail server.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

from bursary.delivery.errors import DeliveryError, address_rejected
from bursary.delivery.smtp_answers import (
    ATTEMPTS_IN_DOUBT,
    LEAST_WAIT_AT_LIMIT,
    LONGEST_ASKED_WAIT,
    Answer,
    error_of_answer,
)

ACTION_KEY = "action"
"""The mail's metadata that names its action; providers give it back in what they report of the mail."""
LONGEST_REF = 255  # characters of the provider's name for a mail, as the column
LONGEST_ANSWER = 500  # characters that are kept
_ABOUT_THE_MAIL = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
_PERHAPS_ACCEPTED = (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)
"""The statuses of a gateway that got no answer itself: the mail may have been accepted behind it."""
_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY)
_FIELD = r"[`'\"]?\b{}\b[`'\"]?[^;.]{{0,20}}\b(?:field|parameter|address|email)\b"
_TO = re.compile(_FIELD.format("to"), re.IGNORECASE)
_FROM = re.compile(
    rf"{_FIELD.format('from')}|\bdomain\b[^;]{{0,80}}\b(?:verif|not allowed|not found)", re.IGNORECASE
)


@dataclass(frozen=True)
class ProviderAnswer(Answer):
    """What a mail provider answers to a request to send one mail; `code` is the HTTP status."""

    verb: str = "message"
    code: int = 0
    text: str = ""

    @property
    def is_final(self) -> bool:
        """Whether the same mail would be refused again."""
        return True

    @property
    def sentence(self) -> str:
        """The answer for people."""
        return f"The mail provider answered {self.code}: {self.text}"


def error_of_response(
    status: int, text: str, *, wait: timedelta | None = None, idempotent: bool = False
) -> DeliveryError:
    """Return the error that a provider's refusing or temporary response means.

    `wait` is how long it asks to wait. `idempotent`: the request has an idempotency key that the provider
    keeps, so that it can be repeated without a second mail.
    """
    answer = ProviderAnswer(code=status, text=" ".join(text.split())[:LONGEST_ANSWER])
    is_about_mail = status in _ABOUT_THE_MAIL
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        least = LEAST_WAIT_AT_LIMIT if wait is None else timedelta(0)
        error = _of_us("sending_limit_reached", answer, wait=least)
    elif is_about_mail and answer.says(_TO):
        error = address_rejected(answer.sentence)
    elif is_about_mail and not answer.says(_FROM):
        error = error_of_answer(answer)
    elif status < HTTPStatus.BAD_REQUEST or (status in _PERHAPS_ACCEPTED and not idempotent):
        error = in_doubt(answer.sentence)
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _LATER:
        error = _of_us("mail_server_busy", answer)
    else:
        error = _of_us("mail_server_refuses_us", answer)
    error.wait = max(error.wait, min(wait or timedelta(0), LONGEST_ASKED_WAIT))
    return error


def in_doubt(detail: str) -> DeliveryError:
    """Return the error for a mail that was handed to the provider without a known answer."""
    return DeliveryError("answer_lost", detail, most_attempts=ATTEMPTS_IN_DOUBT, blames_server=True)


def recipient_refused(status: str) -> DeliveryError:
    """Return the error for an address that the provider refuses, with the provider's status."""
    return address_rejected(f"The mail provider takes no mail for the address: {status}.")


def _of_us(error_code: str, answer: ProviderAnswer, *, wait: timedelta = timedelta(0)) -> DeliveryError:
    return DeliveryError(error_code, answer.sentence, wait=wait, blames_server=True, all_mails_wait=True)
