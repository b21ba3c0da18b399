"""Every setting that is read is documented with its default, and every one that is documented is read."""

import ast
import re
from collections.abc import Iterator
from inspect import isfunction

import pytest

from bursary.config import environment
from tests.docs.pages import PAGES, ROOT, page, rows, section, spans

OPERATIONS = page("docs/operations.md")
DOCUMENTED = {spans(row[0])[0]: row[1] for row in rows(section(OPERATIONS, "Settings"))}
READERS = {name for name, one in vars(environment).items() if isfunction(one)}
FOR_TESTS = set(re.findall(r"BURSARY_TEST_[A-Z]+", page("tests/databases.py")))


def read_settings() -> Iterator[tuple[str, str]]:
    """Yield the name of each variable that the settings read, and its default where that is a plain value."""
    tree = ast.parse((ROOT / "bursary/config/settings.py").read_text())
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name, reader = node.args[0], ast.unparse(node.func)
        if (reader.startswith("env.") or reader in READERS) and isinstance(name, ast.Constant):
            default = next((one.value for one in node.keywords if one.arg == "default"), None)
            plain = str(default.value) if isinstance(default, ast.Constant) else ""
            yield str(name.value), plain.lower() if plain in {"True", "False"} else plain


READ = dict(read_settings())
# Read by how they begin: those of other providers are documented by django-anymail.
OF_PROVIDERS = {
    *("MAILGUN_API_KEY", "MAILGUN_API_URL", "MAILGUN_SENDER_DOMAIN", "MAILGUN_WEBHOOK_SIGNING_KEY"),
    *("RESEND_API_KEY", "RESEND_SIGNING_SECRET", "WEBHOOK_SECRET"),
}
READ |= dict.fromkeys((f"BURSARY_ANYMAIL_{name}" for name in OF_PROVIDERS), "")


def test_each_setting_that_is_read_is_documented() -> None:
    assert {name for name in READ if name.startswith("BURSARY_")} == set(DOCUMENTED)
    assert set(READ) - set(DOCUMENTED) == {"PORT"}


@pytest.mark.parametrize("name", [name for name, default in READ.items() if default and name in DOCUMENTED])
def test_a_plain_default_is_documented(name: str) -> None:
    written, read = DOCUMENTED[name], READ[name]

    assert spans(written)[0] == read or (name == "BURSARY_VAR_DIR" and written.startswith(f"`{read}`"))


def test_no_page_names_a_setting_that_is_not_read() -> None:
    for path in PAGES:
        named = set(re.findall(r"BURSARY_[A-Z_]+[A-Z]", path.read_text(encoding="utf-8")))
        assert named <= set(READ) | FOR_TESTS, path.name


def test_what_a_check_of_an_installation_finds_is_documented() -> None:
    codes = re.findall(r'"bursary\.(W\d+)"', page("bursary/config/security_checks.py"))
    listed = [
        code for row in rows(section(OPERATIONS, "Check for forgotten settings")) for code in spans(row[0])
    ]

    assert sorted(listed) == sorted(codes)
