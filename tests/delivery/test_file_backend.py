"""Mails as files: one for each, named after its action, whole or not there, and removed for good."""

import os
import stat
import uuid
from pathlib import Path

import pytest
from django.core.mail import EmailMessage, get_connection
from pytest_django import Settings

from bursary.assignments.choices import ActionType
from bursary.delivery import file_backend
from tests.world import ALICE, action_of, deliver, given_assignment


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> Path:
    settings.EMAIL_BACKEND = "bursary.delivery.file_backend.FileEmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path / "mail")
    return tmp_path / "mail"


def given_mail(action: uuid.UUID, *, to: str = ALICE) -> EmailMessage:
    return EmailMessage("Hello", "Yours.", to=[to], headers={"Message-ID": f"<{action}@testserver>"})


@pytest.mark.django_db
def test_a_mail_is_a_private_file_named_after_its_action(folder: Path) -> None:
    assignment = given_assignment()
    deliver()
    (file,) = folder.iterdir()
    assert file.name == f"{action_of(assignment, ActionType.NOTIFIED).uuid}.eml"
    assert f"To: {ALICE}" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_same_mail_again_replaces_its_file_and_others_get_their_own(folder: Path) -> None:
    mail = given_mail(uuid.uuid4())
    get_connection().send_messages([mail, mail, EmailMessage("No action", "", to=[ALICE])])
    assert len(list(folder.iterdir())) == 2


def test_a_mail_that_cannot_be_written_whole_is_not_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    action = uuid.uuid4()
    with pytest.raises(OSError, match="No space"):
        given_mail(action).send()
    assert not list(folder.glob("*.eml"))
    monkeypatch.undo()
    file_backend.remove([action])
    assert not list(folder.iterdir())


def test_mails_are_removed_by_their_actions_and_removing_again_does_no_harm(folder: Path) -> None:
    actions = [uuid.uuid4() for _ in range(3)]
    get_connection().send_messages([given_mail(action) for action in actions])
    assert file_backend.remove([*actions[:2], uuid.uuid4()]) == 2
    assert file_backend.remove(actions[:2]) == 0
    assert [file.stem for file in folder.iterdir()] == [str(actions[2])]


def test_the_default_folder_is_searched_although_mails_go_elsewhere_now(
    settings: Settings, tmp_path: Path
) -> None:
    settings.VAR_DIR = tmp_path
    settings.EMAIL_BACKEND = "bursary.delivery.smtp_backend.SmtpEmailBackend"
    action = uuid.uuid4()
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / f"{action}.eml").touch()
    assert file_backend.remove([action]) == 1
