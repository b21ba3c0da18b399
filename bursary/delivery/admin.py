"""The mail server's state and the rate of mails in the Django admin, read only."""

from django.contrib import admin

from bursary.delivery.models import MailServer, SendingRate
from bursary.lib.admin import ReadOnlyAdmin


@admin.register(MailServer)
class MailServerAdmin(ReadOnlyAdmin):
    list_display = ("name", "trouble_since", "error_code", "detail", "failures", "due_at")


@admin.register(SendingRate)
class SendingRateAdmin(ReadOnlyAdmin):
    list_display = ("name", "free_at")
