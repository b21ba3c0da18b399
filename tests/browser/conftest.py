"""Pages in Debian's Chromium, against a server of this process. Without Chromium these tests are skipped.

Where Debian's Chromium without windows is installed, it is that one: it does not draw what a window needs.

One browser is for all of them: they are the group `browser`, which one process of a test run takes in one go.
While Playwright is open, an event loop runs in this thread, which would be in the way of other tests.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from tests.browser.visitor import HURRY, LOOKING, PATIENCE, Visitor

expect.set_options(timeout=PATIENCE)  # not the five seconds, in which a busy machine draws no page

PROGRAMS = ("chromium-headless-shell", "chromium")
"""The first that there is. They are of one engine; the shell takes two thirds of the processor time."""
CHEAP = (
    "--disable-gpu",
    "--in-process-gpu",
    "--disable-extensions",
    "--disable-features=SpareRendererForSitePerProcess",
    "--renderer-process-limit=1",
    "--js-flags=--no-opt --no-maglev --no-flush-bytecode",
)
"""What a browser does ahead of time, or with a graphics card that there is not: a quarter of its work.

And no page lives long enough for its scripts to be worth a better translation; that of axe serves all pages.
"""
HELD = ExitStack()
"""The browser, from the first of these tests to the last."""
STARTED: list[Browser] = []
TABS: dict[bool, Page] = {}
"""One that runs scripts, and one that does not."""


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Close the browser when another test follows, or none."""
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        STARTED.clear()
        TABS.clear()
        HELD.close()


@pytest.fixture
def chromium() -> Browser:
    """Return Chromium, which reaches nothing but this machine."""
    if not STARTED:
        executable = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if executable is None:
            pytest.skip(f"there is no Chromium on this machine (Debian: apt-get install {PROGRAMS[0]})")
        patch = HELD.enter_context(pytest.MonkeyPatch.context())
        playwright = HELD.enter_context(sync_playwright())
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # the loop is Playwright's; Django runs as usual
        # Without a name server: a page that asks for another origin gets nothing, and is found out.
        offline = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost"
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", *CHEAP, offline]
        )
        HELD.callback(browser.close)
        STARTED.append(browser)
        # Colours change at once: axe would measure a contrast while a transition is under way.
        TABS[True] = browser.new_context(reduced_motion="reduce").new_page()
        TABS[True].add_init_script(HURRY)
        TABS[True].add_init_script(LOOKING)
        TABS[False] = browser.new_context(java_script_enabled=False).new_page()
    return STARTED[0]


@contextmanager
def _tab(*, scripts: bool, origin: str) -> Iterator[Visitor]:
    """Use the tab, in which no user is signed in. When the test ends, no page has caused any trouble.

    Tests share it: what a page loads is then read and compiled once, by one process of the browser.
    """
    page = TABS[scripts]
    page.context.clear_cookies()
    page.set_default_timeout(PATIENCE)
    guest = Visitor(page, origin=origin)
    try:
        yield guest
    finally:
        guest.leave()
    assert guest.trouble == []


@pytest.fixture
def visitor(chromium: Browser, live_server: LiveServer, settings: Settings) -> Iterator[Visitor]:
    """Return a visitor."""
    settings.BASE_URL = live_server.url
    settings.CSRF_TRUSTED_ORIGINS = [live_server.url]
    with _tab(scripts=True, origin=live_server.url) as guest:
        yield guest


@pytest.fixture
def reader(chromium: Browser, live_server: LiveServer) -> Iterator[Visitor]:
    """Return a visitor with a browser that runs no scripts."""
    with _tab(scripts=False, origin=live_server.url) as guest:
        yield guest
