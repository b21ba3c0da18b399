"""A visitor of the pages: a tab of the browser, what goes wrong in it, and what every page must satisfy."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from django.conf import settings
from django.test import Client
from playwright.sync_api import ConsoleMessage, Error, Locator, Page, Request, Response
from playwright.sync_api import TimeoutError as TookTooLong

from bursary.access.models import User

PATIENCE = 30_000  # milliseconds, for a machine that is busy with other tests
PRESSES = 3
IN_FULL = "BURSARY_TEST_SOAK" in os.environ
HERE = Path(__file__).parent
HEIGHT = 900
WIDTHS = (360, 768, 1440)
"""A phone, a tablet, a laptop; in CSS pixels, as the height."""
OF_COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules of axe that another colour scheme can break."""
HURRY = """for (const name of ["setTimeout", "setInterval"]) {
    const wait = window[name];
    window[name] = (work, time = 0, ...more) => wait(work, time / 4, ...more);
}"""
"""A script before those of a page: what it does later, or again and again, comes four times as soon."""
LOOKING = "\n".join(
    [
        (HERE / "looking.js").read_text(encoding="utf-8"),
        *(
            "looking.bringAxe = () => {",
            (HERE / "vendor/axe-core/axe.min.js").read_text(encoding="utf-8"),
            "};",
        ),
    ]
)
"""What `looks_over` asks of a page. The browser keeps it, and pages that allow no scripts have it as well."""
Scheme = tuple[Literal["light", "dark"], Sequence[str] | None]
SCHEMES: Sequence[Scheme] = [
    ("light", None),
    ("dark", OF_COLOURS),
]
"""Each with the rules that are asked for, None for all."""
IN_TURN: Sequence[tuple[int, Scheme]] = [(WIDTHS[0], ("light", None)), (WIDTHS[-1], ("dark", None))]


class Visitor:
    """A tab. Whatever a page must not do is kept in `trouble`, and fails the test at its end."""

    def __init__(self, page: Page, *, origin: str) -> None:
        self.page, self.origin = page, origin
        self.trouble: list[str] = []
        self._looks = self._pages_asked = 0
        page.set_viewport_size({"width": WIDTHS[-1], "height": HEIGHT})
        page.emulate_media(color_scheme="light")
        page.on("console", self._hear)
        page.on("pageerror", self._catch)
        page.on("request", self._watch)

    def sign_in(self, user: User) -> None:
        """Sign in as the user, without the form."""
        client = Client()
        client.force_login(user)
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        cookie = {"name": settings.SESSION_COOKIE_NAME, "value": session, "url": self.origin}
        self.page.context.add_cookies([cookie])  # type: ignore[list-item]  # the stubs ask for a TypedDict

    def open(self, path: str) -> Page:
        """Open a page of the site, which must answer 200."""
        return self.is_shown(self.page.goto(f"{self.origin}{path}"))

    def is_shown(self, answer: Response | None, *, status: int = 200) -> Page:
        """Check the answer to what opened the page: its status, and that it allows what is from here alone.

        Of an answer that is an error, the browser's note about its status is no trouble.
        """
        assert answer is not None
        assert answer.status == status, answer.url
        allowed = answer.headers["content-security-policy"]
        assert allowed.startswith("default-src 'none'"), answer.url
        assert not re.search(r"unsafe|https?:|\*", allowed), answer.url
        if status != 200:
            self.trouble = [one for one in self.trouble if f"status of {status}" not in one]
        return self.page

    def leave(self) -> None:
        """Leave the tab to the next visitor: no page is in it, and no trouble is noted any more."""
        self.page.remove_listener("console", self._hear)
        self.page.remove_listener("pageerror", self._catch)
        self.page.remove_listener("request", self._watch)
        self.page.unroute_all()
        self.page.goto("about:blank")

    def click(self, button: Locator) -> None:
        """Click once the page is there in full: on one that still loads, a click can be lost."""
        button.wait_for()
        self.page.wait_for_load_state()
        button.click()

    def press(self, button: Locator, *, until: str) -> None:
        """Press a button or a link that leads to an address, given as a pattern, until its page is loaded.

        A click that is lost asks for no page: then it is repeated. A page that is asked for is waited for.
        Where it is another one, the error has its text.
        """
        for _again in range(PRESSES):
            before = self._pages_asked
            self.click(button)
            try:
                return self.page.wait_for_url(until, timeout=PATIENCE / PRESSES)
            except TookTooLong:
                if self._pages_asked > before:
                    break
        try:
            self.page.wait_for_url(until)
        except TookTooLong as late:
            raise AssertionError(f"{self.page.url}\n{self.page.inner_text('main')}") from late

    def go_back(self) -> None:
        """Return to the page before, once this one is there in full: one that still loads may stay."""
        self.page.wait_for_load_state()
        self.page.go_back()

    def looks_over(self) -> None:
        """Look at the page at each width: axe finds nothing, and nothing is cut off, nor a word broken.

        What a width in between shows, the narrowest or the widest shows as well, and pages are made of the
        same parts. So axe, which takes longer than all else, is asked about a page once, by all its rules:
        at the narrowest in light and at the widest in dark, in turn; in `make soak` at each width in both.
        """
        self.page.wait_for_load_state()
        found = []
        asked = IN_TURN[self._looks % len(IN_TURN)]
        self._looks += 1
        for width in WIDTHS:
            found += self._misfits(width)
            for scheme, rules in SCHEMES if IN_FULL else [one for at, one in [asked] if at == width]:
                self.page.emulate_media(color_scheme=scheme)
                found += [f"{width} {scheme}: {problem}" for problem in self._violations(rules)]
        assert not found, "\n".join([self.page.url, *found])

    def fits(self) -> None:
        """Look at another state of the same page at each width: as `looks_over` does, without axe."""
        self.page.wait_for_load_state()
        found = [problem for width in WIDTHS for problem in self._misfits(width)]
        assert not found, "\n".join([self.page.url, *found])

    def _misfits(self, width: int) -> list[str]:
        self.page.set_viewport_size({"width": width, "height": HEIGHT})
        found: list[str] = self.page.evaluate(
            "([width, phone]) => looking.misfits(width, phone)", [width, width == WIDTHS[0]]
        )
        return found

    def _violations(self, rules: Sequence[str] | None) -> list[str]:
        found: list[str] = self.page.evaluate("rules => looking.violations(rules)", rules)
        return found

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):  # what the content security policy refuses is an error, too
            self.trouble.append(f"console: {message.text}")

    def _catch(self, error: Error) -> None:
        self.trouble.append(f"exception: {error}")

    def _watch(self, request: Request) -> None:
        self._pages_asked += request.is_navigation_request()
        scheme, host = urlsplit(request.url)[:2]
        if scheme != "data" and f"{scheme}://{host}" != self.origin:
            self.trouble.append(f"request: {request.url}")
