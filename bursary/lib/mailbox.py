"""The canonical form of an e-mail address: one mailbox has one, however it is written.

It is what is compared, stored, searched for and mailed. Pasted text brings invisible characters and
full-width letters along. Domains have several spellings, and Python's own codec, of IDNA 2003, turns `straße`
into `strasse`.
"""

import re
import unicodedata

import email_validator

LONGEST_ADDRESS = 254  # characters, RFC 5321

RESERVED = ("invalid", "local", "test")
"""Top-level domains to which mail is possible only inside a network or never: such addresses are accepted."""
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


class BadAddress(ValueError):
    """The text is no address that a mail can be sent to: the message says why, in one or two sentences."""


def canonical(text: str) -> str:
    """Return the canonical form of an address, in ASCII. Raises BadAddress.

    The local part is in lower case, the domain in the A-labels of IDNA 2008.
    """
    valid = _validated(text)
    return f"{valid.ascii_local_part}@{valid.ascii_domain}".lower()


def spellings(text: str) -> set[str]:
    """Return an address as it is written, in canonical form, and with the domain in its own script."""
    written = {text.strip(), comparable(text)}
    try:
        valid = _validated(text)
    except BadAddress:
        return written
    return written | {f"{valid.ascii_local_part}@{valid.domain}".lower()}


def _validated(text: str) -> email_validator.ValidatedEmail:
    address = tidy(text)
    local = address.rpartition("@")[0]
    if local.startswith("'") or local.endswith("'"):  # permitted, and in pasted text always a quotation mark
        raise BadAddress("It has an apostrophe at the beginning or before the @, probably a quotation mark.")
    try:
        return email_validator.validate_email(
            address, allow_smtputf8=False, check_deliverability=False, strict=True
        )
    except ValueError as error:  # also for half a surrogate pair
        raise BadAddress(_problem(address) or str(error)) from error


def half_width(text: str) -> str:
    """Return the text in half-width letters, without soft hyphens and zero-width spaces."""
    return text.translate(_FOLDED)


def tidy(text: str) -> str:
    """Return the text in half-width letters, without what is invisible at its edges."""
    return _EDGES.sub("", half_width(text))


def comparable(text: str) -> str:
    """Return the canonical form; of what is no address, such as one of an earlier rule, tidy lower case."""
    try:
        return canonical(text)
    except BadAddress:
        return tidy(text).lower()


def named(character: str) -> str:
    """Return a character's number and name, such as `U+200E LEFT-TO-RIGHT MARK`."""
    return f"U+{ord(character):04X} {unicodedata.name(character, 'CONTROL CHARACTER')}"


def _problem(address: str) -> str:
    """Return why an address is refused, where the validator does not name the character or the limit."""
    if not address:
        return "There is no address."
    if hidden := _HIDDEN.search(address):
        return f"It contains {named(hidden[0])}."
    local, at, _domain = address.rpartition("@")
    if not at:
        return "It has no @."
    if len(address) > LONGEST_ADDRESS:
        return f"An address has at most {LONGEST_ADDRESS} characters."
    foreign = next((one for one in local if not one.isascii()), "")
    return f"Mail cannot be sent to {named(foreign)} before the @." if foreign else ""
