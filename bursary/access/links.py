"""Signed links: tokens in mails, with which the reader does not need to sign in.

A token is readable, and signed with SECRET_KEY. It has one subject, such as an assignment, one cycle of it,
one purpose, and a digest of the data that the link depends on. The subject's package checks the digest; this
module reads no rows.
"""

import enum
import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar
from uuid import UUID

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

LONGEST_TOKEN = 250  # characters: twice the longest token that is issued
SIGNATURE_LENGTH = 43  # characters at a token's end
DIGEST_LENGTH = 16  # hexadecimal digits are enough: the signature protects the token


class Purpose(enum.StrEnum):
    ANSWER = "answer"
    """Accept or decline one assignment."""
    UNSUBSCRIBE = "unsubscribe"
    """Get no more reminders from one organisation."""


@dataclass(frozen=True)
class Link:
    """The content of a signed link."""

    subject: UUID
    cycle: int
    digest: str
    """The digest of the data that the link depends on (see `digest_of`)."""
    issued_at: datetime
    """In whole seconds."""
    purpose: Purpose = Purpose.ANSWER
    until: datetime | None = None
    """In whole seconds. The link works until then, and for at least `LINK_AGE`."""

    def works_at(self, now: datetime) -> bool:
        """Return whether the link has not expired."""
        ends_at = self.issued_at + settings.LINK_AGE
        return now < (max(ends_at, self.until) if self.until else ends_at)


class LinkRefused(Exception):
    """A link does not work. Each kind has a reason, a sentence for its reader, and the next step."""

    reason: ClassVar[str]
    sentence: ClassVar[str | Promise]
    next_step: ClassVar[str | Promise]

    def __str__(self) -> str:
        return str(self.sentence)


class LinkTruncated(LinkRefused):
    """Its end is missing."""

    reason = "link_cut"
    sentence = _("This link is not complete: its end is missing.")
    next_step = _("Open the mail again and press the button there, or copy the whole address.")


class LinkTampered(LinkRefused):
    """It is complete, but its signature is wrong."""

    reason = "link_tampered"
    sentence = _("This link is not as it was sent: something in it was changed.")
    next_step = _("Open the mail again and press the button there. If you did, ask your organisation.")


class LinkForOtherPurpose(LinkRefused):
    """It is genuine, but for another purpose."""

    reason = "link_for_something_else"
    sentence = _("This link is for something else.")
    next_step = _("Open the mail about your course and use the link in it.")


class LinkExpired(LinkRefused):
    """It is genuine, but too old; `link` is its content."""

    reason = "link_expired"
    sentence = _("This link has expired: links in mails work for a limited time.")
    next_step = _("Look for a newer mail, or ask your organisation.")

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.link = link


class LinkRevoked(LinkRefused):
    """It is genuine, but was revoked, or the data that it depends on has changed."""

    reason = "link_withdrawn"
    sentence = _("This link no longer works: it was revoked or replaced by a newer one.")
    next_step = _("Look for a newer mail, or ask your organisation.")


def token(link: Link) -> str:
    """Return the link as a token for URLs: letters, digits, `-`, `_` and dots."""
    subject = urlsafe_b64encode(link.subject.bytes).decode().rstrip("=")
    issued_at, *until = (str(int(one.timestamp())) for one in (link.issued_at, link.until) if one)
    parts = (link.purpose, subject, str(link.cycle), issued_at, link.digest, *until)
    return _signer().sign(".".join(parts))


def verified(text: str, *, purpose: Purpose, now: datetime) -> Link:
    """Return a token's link if it is genuine, for `purpose`, and not expired at `now`.

    Raises LinkTruncated, LinkTampered, LinkForOtherPurpose, LinkExpired.
    """
    link = _verified(text)
    if link.purpose is not purpose:
        raise LinkForOtherPurpose
    if not link.works_at(now):
        raise LinkExpired(link)
    return link


def verified_even_if_expired(text: str, *, purpose: Purpose) -> Link | None:
    """Return a token's link, even an expired one, if it is genuine and for `purpose`; else None."""
    try:
        link = _verified(text)
    except LinkRefused:
        return None
    return link if link.purpose is purpose else None


def digest_of(*parts: str) -> str:
    """Return a digest of the data that a link depends on; it changes with any of the parts."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:DIGEST_LENGTH]


def _verified(text: str) -> Link:
    if len(text) > LONGEST_TOKEN:
        raise LinkTampered
    if len(text.rpartition(".")[2]) < SIGNATURE_LENGTH:
        raise LinkTruncated
    try:
        # Links in older mails have no `until`.
        purpose, subject, cycle, issued_at, digest, *until = _signer().unsign(text).split(".")
        return Link(
            subject=UUID(bytes=urlsafe_b64decode(subject + "==")),
            cycle=int(cycle),
            digest=digest,
            issued_at=datetime.fromtimestamp(int(issued_at), UTC),
            purpose=Purpose(purpose),
            until=datetime.fromtimestamp(int(until[0]), UTC) if until else None,
        )
    except (BadSignature, ValueError) as unreadable:
        raise LinkTampered from unreadable


def _signer() -> Signer:
    # Made for each call, because it reads SECRET_KEY. It compares in constant time.
    return Signer(salt="bursary.access.links", sep=".")
