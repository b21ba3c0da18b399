"""DeliveryError, and the one place that translates other libraries' errors into it."""

import re
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bursary.assignments.choices import ErrorReason
from bursary.delivery.smtp_backend import AnswerLost

ATTEMPTS_IN_DOUBT = 3
_MAY_HAVE_ARRIVED = "The mail server was given the mail and did not answer: it may have arrived."
_POLICY = re.compile(r"\b[45]\.7\.\d+\b")  # enhanced status codes of security and policy, RFC 3463 §3.8
PERMANENT_FROM = 500  # SMTP replies from here on are final, RFC 5321 §4.2.1


@dataclass
class DeliveryError(Exception):
    """An attempt failed. `permanent` errors are not retried. `error_code` is stable, `detail` a sentence."""

    error_code: str
    detail: str
    permanent: bool = False
    most_attempts: int | None = None
    """Fewer than usual where each attempt may have delivered the mail."""
    reason: ErrorReason = ErrorReason.INTERNAL_API_ERROR

    def __str__(self) -> str:
        return f"{self.error_code}: {self.detail}"


def address_rejected(detail: str) -> DeliveryError:
    """Return the only error that counts as the address's own fault."""
    return DeliveryError("address_rejected", detail, permanent=True, reason=ErrorReason.EMAIL_ERROR)


@contextmanager
def mail_errors_translated() -> Iterator[None]:
    """Raise DeliveryError for any error that sending a mail raises."""
    try:
        yield
    except AnswerLost as lost:
        raise DeliveryError("answer_lost", _MAY_HAVE_ARRIVED, most_attempts=ATTEMPTS_IN_DOUBT) from lost
    except smtplib.SMTPRecipientsRefused as refused:
        raise _refused(refused) from refused
    except (smtplib.SMTPAuthenticationError, smtplib.SMTPSenderRefused, smtplib.SMTPHeloError) as error:
        # An operator must correct the settings; the mails wait for that.
        raise DeliveryError("mail_server_refuses_us", _server_answer(error)) from error
    except smtplib.SMTPConnectError as error:
        raise DeliveryError("mail_server_unreachable", _server_answer(error)) from error
    except smtplib.SMTPResponseException as error:
        permanent = error.smtp_code >= PERMANENT_FROM
        raise DeliveryError("message_refused", _server_answer(error), permanent=permanent) from error
    except ValueError as error:  # a header, or an address that passes for one and cannot be encoded
        raise DeliveryError("message_invalid", str(error), permanent=True) from error
    except (smtplib.SMTPException, OSError) as error:
        raise DeliveryError("mail_server_unreachable", f"{type(error).__name__}: {error}") from error


def _refused(refused: smtplib.SMTPRecipientsRefused) -> DeliveryError:
    code, said = next(iter(refused.recipients.values()))
    detail = f"The mail server answered {code}: {_text(said)}"
    if _POLICY.search(_text(said)):
        # The server refuses this client, not the address: "relay access denied", "client host blocked".
        return DeliveryError("mail_server_refuses_us", detail)
    if code >= PERMANENT_FROM:
        return address_rejected(detail)
    return DeliveryError("mailbox_unavailable", detail)


def _server_answer(error: smtplib.SMTPResponseException) -> str:
    return f"The mail server answered {error.smtp_code}: {_text(error.smtp_error)}"


def _text(said: bytes | str) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said
