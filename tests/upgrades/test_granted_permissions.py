"""A permission of the Django admin that was granted to a user is still theirs where its model was renamed."""

from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection

from bursary.access.models import User
from bursary.assignments.models import AdministratorNotice

pytestmark = pytest.mark.django_db

RENAMED = import_module("bursary.assignments.migrations.0023_administrator_notices")


def test_the_permission_to_see_deadline_notices_shows_administrator_notices_and_back_again() -> None:
    permission = Permission.objects.get(codename="view_administratornotice")
    ada = User.objects.create(username="ada", is_staff=True)
    ada.user_permissions.add(permission)
    editor = connection.schema_editor(atomic=False)

    RENAMED.permissions(RENAMED.NOW, RENAMED.BEFORE)(apps, editor)

    permission.refresh_from_db()
    assert (permission.codename, permission.name) == ("view_deadlinenotice", "Can view deadline notice")
    assert not allowed(ada)

    RENAMED.permissions(RENAMED.BEFORE, RENAMED.NOW)(apps, editor)

    permission.refresh_from_db()
    assert (permission.codename, permission.name) == (
        "view_administratornotice",
        "Can view administrator notice",
    )
    assert permission.content_type == ContentType.objects.get_for_model(AdministratorNotice)
    assert allowed(ada)


def allowed(user: User) -> bool:
    return User.objects.get(pk=user.pk).has_perm("assignments.view_administratornotice")
