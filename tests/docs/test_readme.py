"""What the pages point to exists: files, commands with their options, targets of make, and links."""

import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from django.core.management import call_command, get_commands, load_command_class

from bursary.assignments.models import LearnerContentAssignment
from bursary.ops import console
from tests import world
from tests.docs.pages import PAGES, ROOT, code, first_column, headings, page, rows, section, spans

OPERATIONS = page("docs/operations.md")
TARGETS = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE))
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def anchors(path: Path) -> set[str]:
    """Return the anchors that a page's headings make."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings(path.read_text()))
    return {heading.replace(" ", "-") for heading in plain}


def links() -> Iterator[tuple[Path, str]]:
    """Yield each page with each of its links to another page."""
    for path in PAGES:
        for target in LINK.findall(path.read_text(encoding="utf-8")):
            if "://" not in target:
                yield path, target


def options(command: str) -> set[str]:
    """Return the long options that a command takes."""
    parser = load_command_class(get_commands()[command], command).create_parser("bursary", command)
    return {option for option in parser._option_string_actions if option.startswith("--")}


def test_the_eight_files_to_read_exist() -> None:
    files = first_column(page("README.md"), "Eight files to read")

    assert len(set(files)) == 8
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_every_file_that_is_named_exists() -> None:
    named = re.findall(r"`(bursary/[\w/]+\.py)`", page("README.md"))

    assert [file for file in named if not (ROOT / file).is_file()] == []


def test_every_layer_of_the_contract_is_in_the_picture() -> None:
    picture = section(page("README.md"), "The layers")
    contract = re.search(r"^layers = \[(.*?)\]", page("pyproject.toml"), re.MULTILINE | re.DOTALL)

    assert contract is not None
    packages = re.findall(r"(?<![(\w])[a-z]+(?![)\w])", contract.group(1))
    assert [name for name in packages if not re.search(rf"\b{name}\b", picture)] == []
    drawn = [line.split("  ")[0] for line in picture.split("```")[1].strip().splitlines()]
    assert drawn[0] == "lib"
    assert drawn[-1] == "config"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_each_command_and_target_that_is_named_exists(path: Path) -> None:
    written = "\n".join(code(path.read_text(encoding="utf-8")))

    assert set(re.findall(r"\bmake ([a-z-]+)", written)) <= TARGETS
    assert set(re.findall(r"\bbursary ([a-z][a-z_]*)", written)) <= {"help", *get_commands()}


def test_each_command_of_ours_is_documented_with_options_that_it_takes() -> None:
    documented: set[str] = set()
    for row in rows(section(OPERATIONS, "Commands")):
        names = [name for span in spans(row[0]) for name in re.findall(r"bursary ([a-z_]+)", span)]
        named = {option for cell in row[1:] for option in re.findall(r"--[a-z-]+", cell)}
        assert named <= options(names[0]), names
        documented.update(names)

    assert {name for name, app in get_commands().items() if app == "bursary.ops"} <= documented


def test_every_link_leads_somewhere() -> None:
    for path, target in links():
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), f"{path.name}: {target}"
        assert not anchor or anchor in anchors(there), f"{path.name}: {target}"


def test_each_picture_is_there_in_light_and_dark_and_small() -> None:
    shown = re.findall(r'"(docs/images/[^"]+)"', page("README.md"))
    pictures = sorted((ROOT / "docs" / "images").glob("*.png"))

    assert sorted(ROOT / file for file in shown) == pictures
    assert len(pictures) == 2 * len({file.name.rpartition("-")[0] for file in pictures}) == 12
    for file in pictures:
        assert file.name.endswith(("-light.png", "-dark.png"))
        content = file.read_bytes()
        assert len(content) <= 150_000, file.name
        assert int.from_bytes(content[16:20], "big") == 1440  # the width, in a PNG's first chunk


def test_each_picture_of_measurements_is_shown_by_their_page() -> None:
    shown = re.findall(r"\]\(images/([^)]+)\)", page("docs/performance.md"))
    pictures = sorted(
        set((ROOT / "docs" / "images").iterdir()) - set((ROOT / "docs" / "images").glob("*.png"))
    )

    assert sorted(shown) == [file.name for file in pictures]
    for file in pictures:
        assert ElementTree.parse(file).getroot().tag.endswith("}svg"), file.name


def test_every_decision_is_linked_and_numbered_once() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    linked = {(path.parent / target).resolve() for path, target in links() if path.name == "README.md"}

    assert [file.name[:4] for file in decisions] == [f"{number + 1:04}" for number in range(len(decisions))]
    assert set(decisions) <= linked


def test_what_the_code_says_of_the_documentation_is_there() -> None:
    numbers = {file.name[:4] for file in (ROOT / "docs" / "decisions").glob("*.md")}
    for module in (ROOT / "bursary").rglob("*.py"):
        source = module.read_text(encoding="utf-8")
        assert set(re.findall(r"\bdecision (\d{4})", source)) <= numbers, module.name
        for file in re.findall(r"\bdocs/[\w/-]+\.md", source):
            assert (ROOT / file).is_file(), f"{module.name}: {file}"


@pytest.mark.django_db
def test_the_sample_of_a_timeline_is_what_the_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headings, columns, cells and their widths; the dates and the deadline differ."""
    monkeypatch.setattr(console, "PLAIN_WIDTH", 118)
    budget = world.given_budget(name="Professional skills")
    content = world.given_content(title="Applied Mandarin", price_cents=14_900)
    world.allocate(budget, content, "leo.learner@larkspur.invalid", price_cents=14_900)
    assignment = LearnerContentAssignment.objects.get()
    world.deliver()
    printed = StringIO()
    call_command("timeline", str(assignment.uuid), stdout=printed)
    [sample] = re.findall(
        r"^\$ .*timeline [0-9a-f-]{36}\n(.*?)^```", page("README.md"), re.MULTILINE | re.DOTALL
    )

    assert _undated(sample) == _undated(printed.getvalue())


def _undated(text: str) -> str:
    return re.sub(r"\d", "0", re.sub(r"until .*?\(", "until … (", text))
