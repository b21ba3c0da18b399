"""What may be logged and stored of an error: no tokens, no addresses, no characters that break a column."""

import logging
import re
import traceback
from urllib.parse import unquote

from bursary.lib import texts
from bursary.lib.database_errors import is_outage

LONGEST_LINE = 300  # characters of an error

_TOKEN = re.compile(r"(/[au]/)[^/\s\"'?#]{40,}|(/new-password/[^/\s\"'?#]+/)[^/\s\"'?#]{30,}")
# These two are bounded: a line may be long, and one of a single word took the square of its length.
_ADDRESS = re.compile(r"[^\s'\"()<>=,:;]{1,254}@[^\s'\"()<>=,:;]+")
# Of a mailbox, not of a program or a host: with a dot in its domain.
_MAILBOX = re.compile(
    r"[^\s'\"()<>=,:;/?&]{1,254}(?:@|%40)[^\s'\"()<>=,:;/?&@]{1,254}\.[^\s'\"()<>=,:;/?&@]{1,64}",
    re.IGNORECASE,
)
_PARAMETER = re.compile(r"[\w.\[\]-]{1,40}")


class Formatter(logging.Formatter):
    """Removes e-mail addresses and the tokens of links: with a token, anyone can answer for a learner."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, stack trace included, without tokens and e-mail addresses."""
        return _MAILBOX.sub("…", without_tokens(super().format(record)))


def masked_url(url: str) -> str:
    """Return a requested URL for the log: the names of its parameters, without their values.

    Values may be names and addresses that were searched for. Control characters, which a terminal would obey,
    are removed, too.
    """
    path, _, asked = url.partition("#")[0].partition("?")
    names = [one.partition("=")[0] for one in asked.split("&") if one]
    query = "&".join(f"{name if _PARAMETER.fullmatch(name) else '…'}=…" for name in names)
    path = "/".join("…" if "@" in unquote(one) else one for one in path.split("/"))
    return printable(f"{path}{'?' if query else ''}{query}")


def printable(text: str) -> str:
    """Return text as one quoted word of a log's line holds it: no quotes, no control characters."""
    return "".join(it if it.isprintable() and it != '"' else "?" for it in text)


def without_tokens(text: str) -> str:
    """Return text without the tokens of links in mails in its addresses."""
    return _TOKEN.sub(r"\1\2…", text)


def without_addresses(text: str) -> str:
    """Return text without e-mail addresses."""
    return _ADDRESS.sub("…", text)


def one_line(error: BaseException) -> str:
    """Return an error's type and first line, without e-mail addresses. Further lines may name people."""
    first = without_addresses((str(error).splitlines() or [""])[0])
    return f"{type(error).__name__}: {first}"[:LONGEST_LINE]


def log_failure(what: str, error: Exception, *, log: logging.Logger) -> str:
    """Log what failed with the error in one line and a stack trace; return that line.

    `Logger.exception` would log the error's whole message, which may name people. An outage of the database
    or the disk has no stack trace: its cause is not in the code.
    """
    line = texts.storable(one_line(error), instead=texts.REPLACEMENT)
    where = "" if is_outage(error) else "".join(["\n", *traceback.format_tb(error.__traceback__)]).rstrip()
    log.error("%s: %s%s", what, line, where)
    return line
