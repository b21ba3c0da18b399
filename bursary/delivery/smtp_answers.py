"""Mail servers' answers as DeliveryErrors: what is at fault, and whether the mail is retried.

The verb, the code, the enhanced code (RFC 3463) and the text of an answer decide. The learner's address is at
fault only if the answer is about the address. A limit or a policy of the provider concerns this service,
whatever its code: Google answers 550 5.4.5 for its daily limit, Microsoft 554 5.2.0, and many servers a bare
550 to a relay that they do not know. Decision 0015.
"""

import re
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings

from bursary.delivery.errors import DeliveryError, address_rejected, unreachable
from bursary.delivery.file_backend import MailFolderError
from bursary.delivery.smtp_backend import AnswerLost, DataRefused, DialogueLost

ATTEMPTS_IN_DOUBT = 3
MAILBOX_RETRY_FOR = timedelta(days=1)
"""How long a mail is retried if its mailbox takes nothing."""
LEAST_WAIT_AT_LIMIT = timedelta(minutes=10)
"""The least wait where the provider's limit is reached, or a mailbox is full."""
LONGEST_ASKED_WAIT = timedelta(days=1)
"""A server that asks for a longer wait is asked again after this."""
PERMANENT_FROM = 500  # SMTP replies from here on are final, RFC 5321 §4.2.1
CLOSING = 421  # the answer to any verb by a server that ends the dialogue
_MAY_HAVE_ARRIVED = "The mail server was given the mail and did not answer: it may have arrived."

ABOUT_THE_MAIL = ("RCPT", "DATA", "message")
"""Verbs at which an answer may be about this one mail. `message` is the message's end."""

_ENHANCED = re.compile(r"(?<![\d.])[245]\.(\d{1,3})\.(\d{1,3})(?!\.?\d)")
_AMOUNT = r"(?:quota|limit|rate|allowance|allotment|threshold|credits?)"
_SENT = r"(?:sending|to send|submission|submitted|outbound|outgoing|relay(?:ing)?|senders?'?s?)"
_OUR_LIMIT_SURELY = re.compile(
    rf"\b{_SENT}\b[^;]{{0,40}}\b{_AMOUNT}|{_AMOUNT}\w*\b[^;]{{0,40}}\b{_SENT}\b"
    r"|submission\s?quota|send(?:er)?\s?quota|throttl|rate[ -]?limit|too fast|unusual (?:rate|sending)"
    r"|unusually high|mail flood|slow down|credits? exceeded|exceeded[^;]{0,40}credits|messages? quota"
    r"|\bper (?:second|minute|hour|day)\b|too much mail",
    re.IGNORECASE,
)
_OUR_LIMIT = re.compile(
    rf"\b(?:daily|hourly|monthly|smtp|messages?|recipients?|connections?|e?mails?)\b[^;]{{0,20}}\b{_AMOUNT}"
    rf"|{_AMOUNT}\w*\b[^;]{{0,40}}\b(?:per|a|each) (?:second|minute|hour|day|month)\b"
    rf"|\b(?:exceed\w*|reached|over)\b[^;]{{0,10}} your\b[^;]{{0,40}}{_AMOUNT}"
    r"|too many (?:[\w-]+ |e-?)?(?:mails?|messages|connections|requests|recipients|sessions"
    r"|logins?|errors)|max(?:imum)? (?:number of )?(?:messages|e?-?mails|recipients|connections)"
    r"|exceed\w*[^;]{0,30}\b(?:messages|e?-?mails|recipients|connections|quota|rate)\b",
    re.IGNORECASE,
)
_MAILBOX_FULL = re.compile(
    r"mail\s?box|inbox|storage|disk|receiving|incoming|inbound|\bfull\b|over\s?quota"
    r"|\b(?:user|recipient|account)\b[^;]{0,30}\b(?:quota|over)\b|quota exceeded for",
    re.IGNORECASE,
)
_SIZE = re.compile(
    r"\bsize\b|too (?:large|big|long)|(?:message|mail|line) (?:length|exceeds)|exceeds? (?:the )?max\w*\b",
    re.IGNORECASE,
)
_SENDER = re.compile(
    r"\bsender\b[^;]{0,40}\b(?:reject|verif|unknown|invalid|den|block|not|no such|domain)"
    r"|mail from|return.path|envelope.from|from address",
    re.IGNORECASE,
)
_WHO = r"(?:users?|recipients?|address(?:ee)?|mail\s?box|account|person|destination)"
_NO_SUCH_ADDRESS = re.compile(
    rf"no such [\w ]{{0,20}}{_WHO}|no {_WHO} here|(?:unknown|invalid|bad) (?:[\w-]+ ){{0,2}}{_WHO}"
    rf"|\b{_WHO}\b[^;]{{0,60}}\b(?:unknown|unavailable|inactive|disabled|invalid|closed|deleted|no longer"
    r"|not (?:be )?(?:found|exist|known|here|valid|active|a valid)|doesn.t (?:exist|have)|is not a"
    r"|undeliverable)"
    rf"|not a (?:valid|known) {_WHO}|mailbox name not allowed|unrout[e]?able address|undeliverable address"
    r"|does(?: not|n't) (?:accept|receive) (?:any )?mail|null mx|unknown local part|no mailbox",
    re.IGNORECASE,
)
_SPAM = re.compile(
    r"spam|unsolicited|\bbulk\b|black\s?-?list|block\s?-?list|deny\s?-?list|dnsbl|\brbl\b|barracuda|\bsorbs\b"
    r"|reputation|blocked|abus|complaint|suspicious|phish|\bspf\b|dkim|dmarc",
    re.IGNORECASE,
)
_POLICY = re.compile(
    rf"{_SPAM.pattern}|relay|polic(?:y|ies)|administrative|prohibit|not permitted|not allowed|denied|authenti"
    r"|authori[sz]|reverse (?:dns|host)|\bptr\b|\be?helo\b|client host|your (?:ip|host|domain|server|network)"
    r"|\bbann?ed\b|rcpthosts|\btrust|forbidden|restrict|suspend|(?:send|sender|sending) (?:is|are) not"
    r"|tls required|must issue|encrypt|unable to verify|not verified|access",
    re.IGNORECASE,
)
_CONTENT = re.compile(
    r"content|virus|malware|infected|attachment|header|malformed|format|8bit", re.IGNORECASE
)
_LATER = re.compile(
    r"gr[ae]y-?\s?list|try(?:ing)? (?:\w+ ){0,3}(?:again|later)|later|retry|come back|temporar|defer"
    r"|not accepting|shutting down|overload|\bbusy\b|unavailable|maintenance",
    re.IGNORECASE,
)
_GREYLISTED = re.compile(r"gr[ae]y-?\s?list", re.IGNORECASE)
_UNIT = r"(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?)\b"
_ASKED = re.compile(
    rf"(?:again|later|retry|wait|back|resend|gr[ae]y-?list\w*|defer\w*|delay\w*)\D{{0,40}}?"
    rf"(?:(\d{{1,2}}):(\d\d):(\d\d)\b|((?:\d{{1,7}}\s?{_UNIT}[\s,]*(?:and\s)?)+))",
    re.IGNORECASE,
)
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Answer:
    """What a mail server answers to a verb: EHLO, AUTH, MAIL and so on."""

    verb: str
    code: int
    text: str

    @property
    def enhanced(self) -> tuple[int, int]:
        """The subject and detail of the enhanced code; (0, 0), "other", without one."""
        found = _ENHANCED.search(self.text)
        return (int(found.group(1)), int(found.group(2))) if found else (0, 0)

    @property
    def is_final(self) -> bool:
        """Whether the code is a permanent one."""
        return self.code >= PERMANENT_FROM

    @property
    def sentence(self) -> str:
        """The answer for people."""
        return f"The mail server answered {self.code}: {self.text}"

    def says(self, words: re.Pattern[str]) -> bool:
        """Return whether the answer uses such words."""
        return bool(words.search(self.text))


def error_of_answer(answer: Answer) -> DeliveryError:
    """Return the error that a refusing or temporary answer means."""
    if answer.code < CLOSING - CLOSING % 100:  # neither a refusal nor an answer that fits
        return unreachable(answer.sentence, all_mails_wait=answer.verb not in ABOUT_THE_MAIL)
    is_too_large = _size(answer) and (answer.enhanced != (0, 0) or answer.code == 552)  # RFC 1870
    if _is_our_limit(answer):
        error = DeliveryError(
            "sending_limit_reached",
            answer.sentence,
            wait=LEAST_WAIT_AT_LIMIT,
            blames_server=True,
            all_mails_wait=True,
        )
    elif answer.verb in ABOUT_THE_MAIL and answer.code != CLOSING:
        error = _of_mail(answer)
    elif answer.verb == "MAIL" and answer.is_final and is_too_large:
        error = _message_refused(answer)
    else:
        error = _of_server(answer)
    error.wait = max(error.wait, asked_to_wait(answer.text))
    return error


def asked_to_wait(text: str) -> timedelta:
    """Return how long an answer asks to wait, at most `LONGEST_ASKED_WAIT`; zero, where it does not say."""
    found = _ASKED.search(text)
    if not found:
        return timedelta(0)
    hours, minutes, seconds, spans = found.group(1, 2, 3, 4)
    if hours:
        total = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    else:
        parts = re.findall(rf"(\d+)\s?{_UNIT}", spans, re.IGNORECASE)
        total = sum(int(count) * _SECONDS[unit[0].lower()] for count, unit in parts)
    return min(timedelta(seconds=total), LONGEST_ASKED_WAIT)


def _is_our_limit(answer: Answer) -> bool:
    if answer.says(_OUR_LIMIT_SURELY) or answer.enhanced in ((7, 28), (1, 90)):
        return True
    of_mailbox = answer.enhanced in ((2, 1), (2, 2)) and answer.verb in ABOUT_THE_MAIL
    return not of_mailbox and not answer.says(_MAILBOX_FULL) and answer.says(_OUR_LIMIT) and not _size(answer)


def _size(answer: Answer) -> bool:
    return answer.enhanced in ((2, 3), (3, 4)) or answer.says(_SIZE)


def _of_server(answer: Answer) -> DeliveryError:
    """Return the error for an answer that every other mail would get as well."""
    subject, _detail = answer.enhanced
    for_now = not answer.is_final or subject in (3, 4)
    if for_now and not (answer.says(_POLICY) and not answer.says(_LATER)):
        return _busy(answer, blames_server=True, all_mails_wait=True)
    return _refuses_us(answer, all_mails_wait=True)


def _of_mail(answer: Answer) -> DeliveryError:
    """Return what an answer to RCPT, to DATA or to the message means."""
    if answer.says(_GREYLISTED) and not answer.is_final:
        return _busy(answer)
    if answer.says(_SENDER) and answer.enhanced != (1, 1):
        return _refuses_us(answer)
    by_code = _by_enhanced_code(answer) if answer.enhanced not in ((0, 0), (1, 0), (5, 0)) else None
    if by_code is not None:
        return by_code
    if answer.is_final:
        return _by_words(answer)
    if answer.says(_SPAM) or (answer.says(_POLICY) and not answer.says(_LATER)):
        return _refuses_us(answer)
    if answer.says(_MAILBOX_FULL) or answer.says(_NO_SUCH_ADDRESS):
        return _mailbox_unavailable(answer)
    return _busy(answer)


def _by_enhanced_code(answer: Answer) -> DeliveryError | None:
    """Return what the enhanced code says, RFC 3463 and its registry; None where it says nothing."""
    subject, detail = answer.enhanced
    if subject == 1:
        if detail in (7, 8):
            return _refuses_us(answer)
        return address_rejected(answer.sentence) if answer.is_final else _mailbox_unavailable(answer)
    if subject == 2:  # mailbox
        return _of_mailbox(answer, detail)
    if (subject, detail) == (3, 4) or (subject == 6 and answer.is_final):  # size, content
        return _message_refused(answer)
    if subject in (3, 4, 6):  # the system, its routes
        return _busy(answer, blames_server=subject == 3)  # a route is its recipient's alone
    if subject == 5:  # protocol
        return _refuses_us(answer) if answer.is_final else _busy(answer)
    if subject == 7:  # policy
        later = not answer.is_final and answer.says(_LATER) and not answer.says(_SPAM)
        return _busy(answer) if later else _refuses_us(answer)
    return None


def _of_mailbox(answer: Answer, detail: int) -> DeliveryError:
    disabled = detail == 1 and answer.is_final
    if disabled and not answer.says(re.compile(r"rate|receiving|later|temporar|quota|limit", re.IGNORECASE)):
        return address_rejected(answer.sentence)
    if detail == 3 and answer.is_final:  # longer than this mailbox takes
        return _message_refused(answer)
    return _mailbox_unavailable(answer)


def _by_words(answer: Answer) -> DeliveryError:
    """Return what a permanent answer says without a specific enhanced code."""
    if answer.says(_NO_SUCH_ADDRESS):
        return address_rejected(answer.sentence)
    if answer.says(_SPAM):
        return _refuses_us(answer)
    if answer.verb == "message" and (answer.says(_CONTENT) or _size(answer)):
        return _message_refused(answer)
    if answer.says(_POLICY):
        return _refuses_us(answer)
    if answer.says(_MAILBOX_FULL):
        return _mailbox_unavailable(answer)
    if answer.says(_LATER):
        return _busy(answer, blames_server=True)
    return _by_code(answer)


def _by_code(answer: Answer) -> DeliveryError:
    """Return what a permanent code means alone, RFC 5321 §4.2.3. A bare 550 may be the address or a policy:
    the address is not blamed, and the mail not tried for longer than a day."""
    if answer.verb == "message":
        return _message_refused(answer)
    if answer.verb == "RCPT" and answer.enhanced == (1, 0):
        return address_rejected(answer.sentence)
    if answer.verb == "RCPT" and answer.code in (551, 553, 556):
        return address_rejected(answer.sentence)
    if answer.verb == "RCPT" and answer.code in (550, 552):
        return _mailbox_unavailable(answer)
    return _refuses_us(answer)


def _mailbox_unavailable(answer: Answer) -> DeliveryError:
    return DeliveryError(
        "mailbox_unavailable", answer.sentence, retry_for=MAILBOX_RETRY_FOR, wait=LEAST_WAIT_AT_LIMIT
    )


def _message_refused(answer: Answer) -> DeliveryError:
    return DeliveryError("message_refused", answer.sentence, permanent=answer.is_final)


def _refuses_us(answer: Answer, *, all_mails_wait: bool = False) -> DeliveryError:
    return DeliveryError(
        "mail_server_refuses_us", answer.sentence, blames_server=True, all_mails_wait=all_mails_wait
    )


def _busy(answer: Answer, *, blames_server: bool = False, all_mails_wait: bool = False) -> DeliveryError:
    return DeliveryError(
        "mail_server_busy", answer.sentence, blames_server=blames_server, all_mails_wait=all_mails_wait
    )


@contextmanager
def mail_errors_translated() -> Iterator[None]:
    """Raise DeliveryError for any error that sending a mail raises."""
    try:
        yield
    except AnswerLost as lost:
        raise DeliveryError(
            "answer_lost", _MAY_HAVE_ARRIVED, most_attempts=ATTEMPTS_IN_DOUBT, blames_server=True
        ) from lost
    except smtplib.SMTPRecipientsRefused as refused:
        code, text = next(iter(refused.recipients.values()))
        raise error_of_answer(Answer("RCPT", code, _text(text))) from refused
    except smtplib.SMTPResponseException as error:
        raise error_of_answer(Answer(_verb(error), error.smtp_code, _text(error.smtp_error))) from error
    except smtplib.SMTPNotSupportedError as error:  # no STARTTLS, or no AUTH: settings do not fit the server
        raise DeliveryError(
            "mail_server_refuses_us", f"The mail server: {error}", blames_server=True, all_mails_wait=True
        ) from error
    except ValueError as error:  # a header, or an address that passes for one and cannot be encoded
        raise DeliveryError("message_invalid", str(error), permanent=True) from error
    except MailFolderError as error:
        raise DeliveryError(
            "mail_folder_not_writable", str(error), blames_server=True, all_mails_wait=True
        ) from error
    except (smtplib.SMTPException, OSError) as error:
        may_be_this_mail = isinstance(error, DialogueLost)
        where = f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}: " if settings.EMAIL_HOST else ""
        raise unreachable(
            f"{where}{type(error).__name__}: {error}", all_mails_wait=not may_be_this_mail
        ) from error


def _verb(error: smtplib.SMTPResponseException) -> str:
    match error:
        case DataRefused():
            return "DATA"
        case smtplib.SMTPDataError():
            return "message"
        case smtplib.SMTPSenderRefused():
            return "MAIL"
    return "connection"  # greeting, EHLO, STARTTLS, AUTH


def _text(answer: bytes | str) -> str:
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer
