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
