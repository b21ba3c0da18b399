"""The files in `deploy/`: each is read by its own tool where that is here, and names what Bursary has."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import load_command_class

from tests.docs.pages import ROOT, first_column, page, rows, section, spans
from tests.docs.test_settings import READ

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
RULES: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus/bursary.rules.yml").read_text())["groups"][
    0
]["rules"]
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/bursary.json").read_text())
OURS = [name for name, one in COMPOSE["services"].items() if one["image"].startswith("bursary:")]
PYPROJECT = page("pyproject.toml")
CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost "
    "-keyout privkey.pem -out fullchain.pem"
)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield each command that a file starts Bursary with, and the file."""
    for unit in UNITS:
        (start,) = re.findall(r"^ExecStart=(.+)$", unit.read_text(), re.MULTILINE)
        yield unit.name, start.removeprefix("/opt/bursary/bin/bursary ").split()
    for name in OURS:
        yield f"compose.yaml, {name}", COMPOSE["services"][name]["command"]
    yield "Containerfile", json.loads(re.findall(r"^CMD (\[.+\])$", CONTAINERFILE, re.MULTILINE)[-1])


def run(*command: str, folder: Path) -> None:
    """Run a tool on its file; skip where it is not installed."""
    if shutil.which(command[0], path="/usr/sbin:/usr/bin:/bin:/usr/local/bin") is None:
        pytest.skip(f"{command[0]} is not installed.")
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/bin:/usr/local/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("where", "command"), [*commands()])
def test_each_command_is_one_of_bursary_with_options_that_it_has(where: str, command: list[str]) -> None:
    name, *arguments = command
    app = "bursary.ops" if (ROOT / f"bursary/ops/management/commands/{name}.py").exists() else "django.core"

    load_command_class(app, name).create_parser("bursary", name).parse_args(arguments)


def test_there_is_a_unit_for_each_command_that_runs_for_good() -> None:
    started = {command[0] for _, command in commands()}

    assert started == {"serve", "worker", "beat", "consume_events", "migrate"}


def test_proxy_and_server_agree_on_the_address() -> None:
    of_unit = re.findall(r"--bind (\S+)", (DEPLOY / "systemd/bursary-web.service").read_text())
    upstream = re.findall(r"server (\S+);", (DEPLOY / "nginx/upstream.conf").read_text())
    scraped = yaml.safe_load((DEPLOY / "prometheus/scrape.yml").read_text())["scrape_configs"][0]
    (in_compose,) = re.findall(r"server (\S+);", (DEPLOY / "nginx/upstream-compose.conf").read_text())
    bind = COMPOSE["services"]["web"]["command"][2]

    assert of_unit == upstream == scraped["static_configs"][0]["targets"]
    assert in_compose.split(":") == ["web", bind.split(":")[1]]
    assert f"EXPOSE {bind.split(':')[1]}\n" in CONTAINERFILE
    assert f"127.0.0.1:{bind.split(':')[1]}/healthz" in CONTAINERFILE


def test_a_mount_of_the_compose_file_is_a_file_that_is_here_or_the_certificate() -> None:
    mounts = [one.split(":")[0] for one in COMPOSE["services"]["proxy"]["volumes"]]

    assert [one for one in mounts if not (DEPLOY / one).exists()] == ["./tls"]
    assert re.findall(r"/etc/bursary/(tls)/", (DEPLOY / "nginx/bursary.conf").read_text()) == ["tls"] * 2


def test_images_have_the_version_of_the_project() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', PYPROJECT, re.MULTILINE)

    assert {COMPOSE["services"][name]["image"] for name in OURS} == {f"bursary:{version}"}
    assert f"--tag bursary:{version} ." in CONTAINERFILE
    assert f"## {version}" in page("CHANGELOG.md")


def test_the_image_is_built_of_what_may_be_copied_and_of_extras_that_there_are() -> None:
    copied = {
        name
        for line in re.findall(r"^COPY (?!--)(.+)$", CONTAINERFILE, re.MULTILINE)
        for name in line.split()[:-1]
    }
    allowed = {line[1:] for line in page(".dockerignore").splitlines() if line.startswith("!")}

    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    for extra in re.findall(r"--extra (\w+)", CONTAINERFILE):
        assert f"\n{extra} = [" in PYPROJECT


def test_containers_and_units_run_without_rights() -> None:
    user, group = re.findall(r"^USER ([1-9]\d*):([1-9]\d*)$", CONTAINERFILE, re.MULTILINE)[0]
    assert re.search(rf"groupadd --gid {group} bursary\b", CONTAINERFILE)  # or Celery warns of it
    assert re.search(rf"useradd --uid {user} --gid bursary\b", CONTAINERFILE)
    for name in OURS:
        service = COMPOSE["services"][name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    for unit in UNITS:
        assert {"User=bursary", "NoNewPrivileges=yes", "ProtectSystem=strict"} <= {
            *unit.read_text().split("\n")
        }


def test_every_setting_that_a_file_names_is_one() -> None:
    for path in (file for file in DEPLOY.rglob("*") if file.is_file()):
        named = set(re.findall(r"BURSARY_[A-Z_]+[A-Z]", path.read_text(encoding="utf-8")))
        assert named <= set(READ), path.name


def test_alerts_and_panels_ask_for_metrics_that_there_are() -> None:
    offered = set(first_column(page("docs/operations.md"), "Collect metrics"))
    asked = {rule["alert"]: rule["expr"] for rule in RULES} | {
        panel["title"]: target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
    }

    for where, expression in asked.items():
        assert set(re.findall(r"bursary_\w+", expression)) <= offered, where
    in_panels = {
        name for panel in DASHBOARD["panels"] for name in re.findall(r"bursary_\w+", json.dumps(panel))
    }
    assert in_panels == offered


def test_the_documents_say_of_each_alert_what_to_do() -> None:
    table = rows(section(page("docs/operations.md"), "Set up alerts"))

    assert [spans(row[0])[0] for row in table] == [rule["alert"] for rule in RULES]
    assert all(len(row[2]) > 20 for row in table)


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    run("promtool", "check", "rules", "bursary.rules.yml", folder=DEPLOY / "prometheus")
    run("promtool", "test", "rules", "bursary.test.yml", folder=DEPLOY / "prometheus")
    run("promtool", "check", "config", "scrape.yml", folder=DEPLOY / "prometheus")


@pytest.mark.parametrize("upstream", ["upstream.conf", "upstream-compose.conf"])
def test_nginx_accepts_its_configuration(upstream: str, tmp_path: Path) -> None:
    run(*CERTIFICATE.split(), folder=tmp_path)
    server = (DEPLOY / "nginx/bursary.conf").read_text()
    server = server.replace("/etc/bursary/tls", str(tmp_path)).replace("/var/log/nginx", str(tmp_path))
    server = re.sub(r"listen (\[::\]:)?(80|443)", r"listen \g<1>1\2", server)
    (tmp_path / "bursary.conf").write_text(server)
    # No name server knows `web` here.
    served = (DEPLOY / "nginx" / upstream).read_text().replace("server web:", "server 127.0.0.1:")
    (tmp_path / "bursary-upstream.conf").write_text(served)
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\n access_log off;\n include bursary.conf;\n}}\n"
    )

    run("nginx", "-t", "-e", f"{tmp_path}/error", "-c", f"{tmp_path}/nginx.conf", folder=tmp_path)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_each_unit(unit: Path, tmp_path: Path) -> None:
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace("/opt/bursary/bin/bursary", sys.executable))

    run("systemd-analyze", "verify", "--man=no", str(here), folder=tmp_path)
