"""DeliveryError: why an attempt failed, what is at fault, and whether it is retried."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bursary.assignments.choices import ErrorReason

LONGEST_OUTAGE = timedelta(days=4)
"""How long actions with temporary errors are retried: a server may be down over a weekend (RFC 5321
§4.5.4.1)."""

FAULTS: Mapping[str, str] = {
    "address_rejected": "the learner's address",
    "mailbox_unavailable": "the learner's mailbox, for now",
    "message_refused": "the message: ask the mail server's operator",
    "message_invalid": "the message",
    "mail_server_refuses_us": "our account or sender at the mail server: its settings, its policy",
    "sending_limit_reached": "our limit at the mail server; mails go out later and more slowly",
    "mail_server_busy": "the mail server, for now",
    "mail_server_unreachable": "the mail server, or the way to it",
    "answer_lost": "the mail server: the mail may have arrived",
    "mail_folder_not_writable": "the folder of mails: its disk or its permissions",
    "ledger_refused": "the ledger",
    "worker_died": "this service",
    "unexpected_error": "this service",
}
"""What is at fault by error code, in words for the operator."""


@dataclass
class DeliveryError(Exception):
    """An attempt failed. `permanent` errors are not retried. `error_code` is stable, `detail` a sentence."""

    error_code: str
    detail: str
    permanent: bool = False
    reason: ErrorReason = ErrorReason.INTERNAL_API_ERROR
    most_attempts: int | None = None
    """The most attempts with this error; set for errors after which the mail may have been delivered."""
    retry_for: timedelta = LONGEST_OUTAGE
    """How long after its first occurrence the action is retried."""
    wait: timedelta = timedelta(0)
    """The shortest wait before the next attempt: what the server asks for, or a least wait of our own."""
    blames_server: bool = False
    """The mail server is at fault, or refuses this service: an operator must know."""
    all_mails_wait: bool = False
    """All mails would fail in the same way, and wait together."""

    def __str__(self) -> str:
        return f"{self.error_code}: {self.detail}"


@dataclass
class MailsPaused(DeliveryError):
    """The mail server is in trouble and is not tried before `until`. Nothing was sent."""

    until: datetime = field(kw_only=True)
    since: datetime = field(kw_only=True)
    """When the trouble began."""


def address_rejected(detail: str) -> DeliveryError:
    """Return the error for a rejected address. All other errors have another fault."""
    return DeliveryError("address_rejected", detail, permanent=True, reason=ErrorReason.EMAIL_ERROR)


def unreachable(detail: str, *, all_mails_wait: bool = True) -> DeliveryError:
    """Return the error for a mail server that does not answer, or not by SMTP."""
    return DeliveryError("mail_server_unreachable", detail, blames_server=True, all_mails_wait=all_mails_wait)
