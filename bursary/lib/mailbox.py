"""The canonical form of an e-mail address: a mailbox has one, however its address is written.

Addresses are compared, stored, searched for and mailed in this form. Pasted text contains invisible
characters and full-width letters. A domain has several spellings; Python's own codec implements IDNA 2003,
and turns `straße` into `strasse`.
"""

import re
import unicodedata
from functools import lru_cache

import email_validator
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

LONGEST_ADDRESS = 254  # characters, RFC 5321

RESERVED = ("invalid", "local", "test")
"""Top-level domains that receive mail only inside a network, or never. Their addresses are accepted."""
for _name in RESERVED:
    email_validator.SPECIAL_USE_DOMAIN_NAMES.remove(_name)  # its documented way to accept them

# Unicode's property Default_Ignorable_Code_Point, which `unicodedata` lacks.
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_EDGES = re.compile(rf"\A[\s{_IGNORABLE}]+|[\s{_IGNORABLE}]+\Z")
_HIDDEN = re.compile(rf"[\s{_IGNORABLE}\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_FOLDED = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x00AD: None, 0x200B: None}
"""Full-width forms as ASCII; without soft hyphens and zero-width spaces, which text is broken at."""

# The validator's own messages are for programmers, and change with its releases. The first pattern that
# is found names the problem; those after the lengths are searched in short text only.
_PROBLEMS = tuple(
    (re.compile(pattern, re.DOTALL), sentence)
    for pattern, sentence in (
        (r"\A\Z", _("There is no address.")),
        (f"(?! )(?P<one>{_HIDDEN.pattern})", _("It contains {named}.")),
        ("(?P<one>\ufe6b)", _("It contains {named} instead of an @.")),
        (r"\A[^@]*\Z", _("It has no @.")),
        (" ", _("It contains a space: are these two addresses, or a name?")),
        ("@.*@", _("It has more than one @: are these two addresses?")),
        (r"\A@", _("There is nothing before the @.")),
        (r"@\Z", _("There is nothing after the @.")),
        ("[<>]", _("It has angle brackets: they belong in pairs, around an address alone.")),
        ('"', _("It has a quotation mark.")),
        (rf"\A.{{{LONGEST_ADDRESS + 1}}}", _("An address has at most {most} characters.")),
        (r"\A[^@]{65}", _("The part before the @ has at most 64 characters.")),
        ("(?P<one>[^\x00-\x7f]).*@", _("Mail cannot be sent to {named} before the @.")),
        (r"(?P<one>[^\w.!#$%&'*+/=?^`{|}~@-]).*@", _("“{one}” is not possible before the @.")),
        (r"\A\.", _("It begins with a full stop.")),
        (r"\.@", _("It has a full stop before the @.")),
        (r"@\.", _("It has a full stop after the @.")),
        (r"\.\Z", _("It ends with a full stop.")),
        (r"\.\.", _("It has two full stops in a row.")),
        (r"@\[", _("A number in brackets stands after the @: a domain is needed, such as larkspur.example.")),
        (r"@.*(?P<one>[\x21-,/:-@\[-`{-\x7f])", _("“{one}” is not possible after the @.")),
        (r"@(.*\.)?-|@.*-(\.|\Z)", _("A part of its domain begins or ends with a hyphen.")),
        (r"@.*[^.]{64}", _("A part of its domain has more than 63 characters.")),
        (r"@[^.\u3002\uff61]*\Z", _("Its domain has no full stop, and is not complete.")),
        (r"[0-9]\Z", _("Its domain ends with a digit: it is not complete, or a number.")),
        (
            rf"[@.]({'|'.join(map(re.escape, email_validator.SPECIAL_USE_DOMAIN_NAMES))})\Z",
            _("Its domain is reserved for special uses, and mail cannot be sent there."),
        ),
    )
)


_PART = r"[^\x00-\x20@<>\"(),:;\[\]\\]+"
_FORM = re.compile(rf"{_PART}@{_PART}\.[^\W\d_][\w-]+")
"""Matches what browsers and other clients accept as an address."""

_ATOM = r"[A-Za-z0-9!#$%&*+/=?^_`{|}~-]+"
_PLAIN = re.compile(rf"(?=[^@]{{1,64}}@)(?P<local>{_ATOM}(?:\.{_ATOM})*)@(?P<domain>[A-Za-z0-9.-]+)")
"""An address in ASCII that needs no check of its whole text. Apostrophes do."""
_DOMAINS_REMEMBERED = 4096

_LOOK_ALIKES = re.compile("[асеһіјӏорԛѕԝхуѵԁονραικυγ]")
"""Letters that look like Latin ones: a domain with one of them is not the domain that it seems to be."""
_OTHER_LETTER = re.compile(r"[^\W\d_]")


class BadAddress(ValueError):
    """The text is not an address that can receive mail. The message says why, in one or two sentences."""


def canonical(text: str) -> str:
    """Return the canonical form of an address, in ASCII. Raises BadAddress.

    The local part is in lower case, the domain in the A-labels of IDNA 2008. A domain is checked once for all
    addresses in it, unless an address needs a check of its whole text.
    """
    if text.isascii() and len(text) <= LONGEST_ADDRESS and (plain := _PLAIN.fullmatch(text.strip())):
        domain = plain["domain"].lower()
        if "xn--" not in domain and _is_domain(domain):  # the length of A-labels counts in both scripts
            return f"{plain['local'].lower()}@{domain}"
    valid = _validated(text)
    return f"{valid.ascii_local_part}@{valid.ascii_domain}".lower()


@lru_cache(maxsize=_DOMAINS_REMEMBERED)
def _is_domain(domain: str) -> bool:
    """Return whether mail can be sent to a domain in ASCII, without A-labels, as it is written."""
    try:
        return _validated(f"a@{domain}").ascii_domain == domain
    except BadAddress:
        return False


def is_plain(text: str) -> bool:
    """Return whether the text is an address in ASCII and nothing else, without spaces or invisible marks."""
    return _PLAIN.fullmatch(text) is not None


def has_form(text: str) -> bool:
    """Return whether the text has the form of an address, in any script. It may still receive no mail."""
    return _FORM.fullmatch(text) is not None


def spellings(text: str) -> set[str]:
    """Return an address as it is written, in canonical form, and with the domain in its own script."""
    written = {text.strip(), comparable_text(text)}
    try:
        valid = _validated(text)
    except BadAddress:
        return written
    return written | {f"{valid.ascii_local_part}@{valid.domain}".lower()}


def _validated(text: str) -> email_validator.ValidatedEmail:
    address = tidy(text)
    local = address.rpartition("@")[0]
    if local.startswith("'") or local.endswith("'"):  # permitted, and in pasted text always a quotation mark
        raise BadAddress(
            gettext("It has an apostrophe at the beginning or before the @, probably a quotation mark.")
        )
    try:
        valid = email_validator.validate_email(
            address, allow_smtputf8=False, check_deliverability=False, strict=True
        )
    except ValueError as error:  # also for half a surrogate pair
        raise BadAddress(_problem(address)) from error
    if letter := _look_alike(valid.domain):
        sentence = gettext("Its domain has {named}, which looks like a Latin letter: type it anew.")
        raise BadAddress(sentence.format(named=name_of(letter)))
    return valid


def half_width(text: str) -> str:
    """Return the text in half-width letters, without soft hyphens and zero-width spaces."""
    return text.translate(_FOLDED)


def tidy(text: str) -> str:
    """Return the text in half-width letters, without what is invisible at its edges."""
    return _EDGES.sub("", half_width(text))


def comparable_text(text: str) -> str:
    """Return the canonical form; for a text that is not an address by this rule, `tidy` in lower case."""
    try:
        return canonical(text)
    except BadAddress:
        return tidy(text).lower()


def canonical_or_empty(text: str) -> str:
    """Return the canonical form of an address; empty for what is none."""
    try:
        return canonical(text)
    except BadAddress:
        return ""


def name_of(character: str) -> str:
    """Return a character's number and name, such as `U+200E LEFT-TO-RIGHT MARK`; a letter before it."""
    name = f"U+{ord(character):04X} {unicodedata.name(character, 'CONTROL CHARACTER')}"
    seen = _OTHER_LETTER.match(character) and not _HIDDEN.match(character)
    return f"“{character}” ({name})" if seen else name


def _look_alike(domain: str) -> str:
    """Return a Cyrillic or Greek letter of the domain that passes for a Latin one; empty if there is none.

    It passes for one among Latin letters, and in a label of only such letters under a Latin top-level domain.
    """
    *parts, ending = domain.split(".")
    for part in (*parts, ending):
        if found := _LOOK_ALIKES.search(part):
            mixed = re.search("[a-z]", part)
            only_look_alikes = ending.isascii() and not _OTHER_LETTER.search(_LOOK_ALIKES.sub("", part))
            if mixed or only_look_alikes:
                return found[0]
    return ""


def _problem(address: str) -> str:
    """Return why an address is refused: the first of `_PROBLEMS` that it has."""
    for pattern, sentence in _PROBLEMS:
        if found := pattern.search(address):
            shown = found.groupdict().get("one") or ""
            words = {"one": shown, "named": name_of(shown) if shown else "", "most": LONGEST_ADDRESS}
            return gettext(sentence).format(**words)
    return gettext("The part after the @ is no domain that mail can be sent to: check how it is spelt.")
