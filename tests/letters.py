"""Reading the mails that arrived, as their learners do."""

import re
from email.message import EmailMessage


def text_of(message: EmailMessage) -> str:
    """Return a mail's plain text."""
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def link_in(message: EmailMessage) -> str:
    """Return the path of the one link to act by in a mail; the same in its text and its HTML."""
    html = message.get_body(("html",))
    assert html is not None
    in_html = re.findall(r'href="http://testserver((?!/u/)[^"]+)"', html.get_content())
    in_text = re.findall(r"http://testserver((?!/u/)\S+)", text_of(message))
    assert in_html == in_text
    (link,) = in_text
    return str(link)


def all_of(message: EmailMessage) -> str:
    """Return everything of a mail that its reader can see: its headers, its text and its HTML, decoded."""
    headers = [f"{name}: {value}" for name, value in message.items()]
    parts = [part.get_content() for part in message.walk() if not part.is_multipart()]
    return "\n".join([*(one for one in headers if not one.startswith("Content-")), *parts])
