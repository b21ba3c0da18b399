"""Why work failed, as administrators read it, and what they can do about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from bursary.assignments.choices import ActionType


@dataclass(frozen=True)
class CauseInWords:
    """A cause as a sentence, and what to do: lazy texts, in the reader's language."""

    sentence: Any
    next_step: Any


_TRY_AGAIN = _("Retry it.")
_ASK_OPERATOR = _("Ask the operator of this service, then retry it.")

CAUSES: Mapping[str, CauseInWords] = {
    "address_rejected": CauseInWords(_("The address does not exist."), _("Correct the address.")),
    "mailbox_unavailable": CauseInWords(_("The mailbox takes no mail at present."), _TRY_AGAIN),
    "message_refused": CauseInWords(_("The mail server refused the message."), _ASK_OPERATOR),
    "message_invalid": CauseInWords(_("The message could not be built."), _ASK_OPERATOR),
    "mail_server_refuses_us": CauseInWords(_("The mail server does not accept our mails."), _ASK_OPERATOR),
    "sending_limit_reached": CauseInWords(
        _("The mail provider's limit for sending is reached: mails go out later, and more slowly."),
        _TRY_AGAIN,
    ),
    "mail_server_busy": CauseInWords(_("The mail server asks to come again later."), _TRY_AGAIN),
    "mail_folder_not_writable": CauseInWords(
        _("The folder for mails is full, or cannot be written."), _ASK_OPERATOR
    ),
    "answer_lost": CauseInWords(
        _("The mail server did not confirm the mail: it may have arrived."), _TRY_AGAIN
    ),
    "mail_server_unreachable": CauseInWords(_("The mail server does not answer."), _TRY_AGAIN),
    "ledger_refused": CauseInWords(_("The money could not be spent."), _("The learner can accept again.")),
    "unexpected_error": CauseInWords(_("An unexpected error."), _ASK_OPERATOR),
    "worker_died": CauseInWords(_("The work was interrupted each time."), _ASK_OPERATOR),
    "account_deactivated": CauseInWords(
        _("The learner's account is deactivated: no mails are sent."), _("Cancel it to free the money.")
    ),
    "account_deleted": CauseInWords(
        _("The learner's account was deleted: no mails are sent."), _("Cancel it to free the money.")
    ),
}
_OTHER = CauseInWords(_("It failed."), _TRY_AGAIN)

WORK_IN_WORDS: Mapping[str, Any] = {
    ActionType.LEARNER_LINKED: _("Adding the learner"),
    ActionType.NOTIFIED: _("The invitation"),
    ActionType.REMINDED: _("A reminder"),
    ActionType.NUDGED: _("The mail before the start"),
    ActionType.REDEEMED: _("Accepting"),
    ActionType.CANCELLATION_NOTIFIED: _("The mail about the cancellation"),
    ActionType.EXPIRATION_NOTIFIED: _("The mail about the expiry"),
}
"""Work that can fail, as the subject of a sentence."""


def in_words(cause: str) -> CauseInWords:
    """Return a cause in words; of one that has none here, that it failed."""
    return CAUSES.get(cause, _OTHER)
