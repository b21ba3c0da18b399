"""Take the README's pictures: six pages in light and dark, into `docs/images/`.

Usage: `make screenshots`, after a visible change; the result is committed. Needs Chromium. The pictures show
a new demonstration in a temporary folder, always with the same date.
"""

import io
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import django
import time_machine
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

IMAGES = Path(__file__).resolve().parent.parent / "docs/images"
NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
WIDTH, HEIGHT, HIGHEST = 1440, 900, 1200
COLOURS = 256
PATIENCE = 60_000  # milliseconds
TYPED = """\
amir.kaya@larkspur.example
beatriz.costa@larkspur.example
chidi.okafor@larkspur.example
elena.marino@larkspu.example
hana.tanaka@larkspur.example
ines.pereira larkspur.example
joris.bakker@larkspur.example
lars.olsen@larkspur.example
leila.haddad@larkspur.example
"""
CORRECTED = TYPED.replace(" ", "@")
DELIVERED = 8  # one address is mistyped
PARTNER = "Harbour Academy"
MESSAGE = "Please finish this before the new season begins. Ask me if the dates do not suit you.\n\nAda"


def main() -> None:
    """Make the demonstration, and take every picture."""
    executable = shutil.which("chromium")
    if executable is None:
        sys.exit("Chromium is needed (Debian: apt-get install chromium).")
    for name in [name for name in os.environ if name.startswith("BURSARY_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder, time_machine.travel(NOW, tick=False):
        os.environ |= {"BURSARY_VAR_DIR": folder, "DJANGO_SETTINGS_MODULE": "bursary.config.settings"}
        django.setup()
        load()
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # the event loop is Playwright's, not Django's
        with served() as origin, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
            take_all(signed_in(browser, origin), origin)
            browser.close()


def load() -> None:
    """Load the demonstration with its year. Replace a partner's name that many machines have no font for."""
    from bursary.ops import demo, demo_year
    from bursary.replica.models import ContentMetadata

    def on_progress(_done: int) -> None:
        """Ignore the progress."""

    demo.load(now=NOW, on_progress=on_progress, weeks=demo_year.WEEKS)
    for content in ContentMetadata.objects.exclude(partner_names="").only("partner_names"):
        if not content.partner_names.isascii():
            ContentMetadata.objects.filter(pk=content.pk).update(partner_names=PARTNER)


@contextmanager
def served() -> Iterator[str]:
    """Serve the pages, without the service's threads; yield their origin."""
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_args: object) -> None:
            """Write nothing."""

    server = ThreadedWSGIServer(("127.0.0.1", 0), Quiet)
    server.daemon_threads = True
    server.set_app(get_wsgi_application())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def signed_in(browser: Browser, origin: str) -> Page:
    """Return a tab with the demonstration's administrator signed in."""
    from django.conf import settings
    from django.test import Client

    from bursary.access.models import User
    from bursary.ops import demo

    client = Client()
    client.force_login(User.objects.get(username=demo.ADMINISTRATOR.username))
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce", locale="en-US"
    )
    context.set_default_timeout(PATIENCE)
    name = settings.SESSION_COOKIE_NAME
    context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": origin}])
    return context.new_page()


def take_all(page: Page, origin: str) -> None:
    """Go through an administrator's day, and take a picture of each page."""
    from bursary.budgets.models import Budget
    from bursary.ops import demo_history

    budget = Budget.objects.get(name=demo_history.COMFORTABLE)
    for name, path in (
        ("home", "/"),
        ("assignments", "/assignments/?sort=learner_email"),
        ("budget", f"/budgets/{budget.uuid}/"),
        ("assignment", f"/assignments/{eventful(budget.customer_id)}/"),
    ):
        page.goto(f"{origin}{path}")
        take(page, name)
    page.goto(f"{origin}/budgets/{budget.uuid}/assign/")
    page.get_by_label("Part of the title").press_sequentially("mandarin")
    expect(page.get_by_role("group", name="Advanced Art History")).to_have_count(0)
    page.get_by_label("The course: the learner chooses a run").first.check()
    page.get_by_label("A message of your own").fill(MESSAGE)
    page.get_by_label("E-mail addresses").fill(TYPED)
    expect(page.locator("#preview")).to_contain_text("It has no @.", timeout=PATIENCE)
    page.get_by_role("heading", name="Assign a course").click()  # to remove the caret from the picture
    page.get_by_label("E-mail addresses").evaluate("list => { list.scrollTop = 0 }")
    take(page, "assign", highest=2000)
    page.get_by_label("E-mail addresses").fill(CORRECTED)
    page.get_by_role("button", name="Assign to 9 learners").click()
    page.wait_for_url("**/batches/**")
    deliver()
    page.reload()
    expect(page.get_by_text(f"{DELIVERED} of 9 learners are notified.")).to_be_visible()
    take(page, "batch")


def eventful(customer_pk: int) -> object:
    """Return the uuid of the customer's open assignment with the most failures and then the most actions."""
    from django.db.models import Count, Q

    from bursary.assignments.choices import State, Status
    from bursary.assignments.models import LearnerContentAssignment

    rows = LearnerContentAssignment.objects.filter(budget__customer=customer_pk, state=State.ALLOCATED)
    failed = Count("actions", filter=Q(actions__status=Status.FAILED))
    return rows.annotate(failed=failed, all=Count("actions")).order_by("-failed", "-all", "pk")[0].uuid


def deliver() -> None:
    """Send the mails of the latest allocation, by the demonstration's mail server."""
    from bursary.assignments.models import AllocationBatch, LearnerContentAssignmentAction
    from bursary.delivery import runner
    from bursary.ops.demo_mail import demonstration_mail

    batch = AllocationBatch.objects.latest("pk")
    work = LearnerContentAssignmentAction.objects.filter(assignment__allocation_batch_uuid=batch.uuid)
    pks = list(work.values_list("pk", flat=True))
    with demonstration_mail():  # the mails are due some seconds after each other
        runner.drain(clock=lambda: NOW + timedelta(hours=1), limit=len(pks), pks=pks)


def take(page: Page, name: str, *, highest: int = HIGHEST) -> None:
    """Write the pictures of a page, in light and in dark, with few colours, so that the files are small."""
    page.mouse.move(0, 0)
    page.wait_for_load_state("networkidle")  # a part of a page may come later than the page
    whole = int(page.evaluate("document.documentElement.scrollHeight"))
    page.set_viewport_size({"width": WIDTH, "height": min(max(whole, HEIGHT), highest)})
    page.evaluate("window.scrollTo(0, 0)")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        reduced = picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        reduced.save(IMAGES / f"{name}-{scheme}.png", optimize=True)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})


if __name__ == "__main__":
    main()
