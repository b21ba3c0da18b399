"""Users, roles and API keys in the Django admin. Keys are issued by commands and revoked here."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangosUserAdmin
from django.contrib.auth.models import Group
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from bursary.access.models import (
    AccountAddress,
    ApiKey,
    ExternalIdentity,
    IdempotentRequest,
    JwkSet,
    LearnerLink,
    NoticeAddress,
    RequestTally,
    RoleGrant,
    SeenAdministrator,
    SignInFailures,
    Suppression,
    User,
    learner_key,
    of_mailboxes,
)
from bursary.lib import mailbox
from bursary.lib.admin import ReadOnlyAdmin

admin.site.unregister(Group)  # roles decide what a user may do


class FindsMailboxes:
    """Adds to a list's search the rows with another spelling of the searched address."""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return the matching rows, and whether there may be duplicates."""
        found, duplicates = super().get_search_results(request, queryset, search_term)  # type: ignore[misc]  # ModelAdmin's
        if "@" in mailbox.comparable_text(search_term):
            ways = Q(pk__in=found.order_by().values("pk")) | of_mailboxes([learner_key(search_term)])
            return queryset.filter(ways), False
        return found, duplicates


@admin.register(User)
class UserAdmin(FindsMailboxes, DjangosUserAdmin):  # type: ignore[type-arg]  # Django's class takes no parameters when run
    list_display = ("username", "email", "lms_user_id", "is_active", "is_staff")
    search_fields = ("username", "email", "=lms_user_id")
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (*(DjangosUserAdmin.fieldsets or ()), ("Open edX", {"fields": ("lms_user_id",)}))
    add_fieldsets = (*DjangosUserAdmin.add_fieldsets, ("Person", {"fields": ("email", "lms_user_id")}))

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Return whether the account may be deleted: one at a time, and with an LMS user id.

        An account without that id is deactivated instead: deleting it would delete the only record that its
        learner must not be mailed (decision 0013).
        """
        traced = obj is not None and obj.lms_user_id is not None
        return traced and super().has_delete_permission(request, obj)


@admin.register(RoleGrant)
class RoleGrantAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # Django's class takes no parameters when run
    list_display = ("user_name", "role", "customer", "created")
    list_select_related = ("user", "customer")
    list_filter = ("role",)
    search_fields = ("user__username", "user__email", "customer__name")
    autocomplete_fields = ("user", "customer")

    @admin.display(description="user", ordering="user__username")
    def user_name(self, grant: RoleGrant) -> str:
        return grant.user.get_username()


@admin.register(AccountAddress)
class AccountAddressAdmin(ReadOnlyAdmin):
    list_display = ("address", "user_name", "created")
    list_select_related = ("user",)
    search_fields = ("address", "user__username", "user__email")

    @admin.display(description="user", ordering="user__username")
    def user_name(self, address: AccountAddress) -> str:
        return address.user.get_username()


@admin.register(LearnerLink)
class LearnerLinkAdmin(FindsMailboxes, ReadOnlyAdmin):
    list_display = ("learner_email", "customer", "created")
    list_select_related = ("customer",)
    search_fields = ("learner_email", "customer__name")


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    list_display = fields = (
        *("prefix", "name", "user_name", "scope"),
        *("created", "last_used_at", "expires_at", "revoked_at"),
    )
    list_select_related = ("user",)
    search_fields = ("prefix", "name", "user__username")
    actions = ("revoke",)

    @admin.display(description="user", ordering="user__username")
    def user_name(self, key: ApiKey) -> str:
        return key.user.get_username()

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Revoking is the only change."""
        return request.user.has_perm("access.change_apikey")

    @admin.action(description="Revoke: the key stops working", permissions=["revoke"])
    def revoke(self, request: HttpRequest, keys: QuerySet[Any]) -> None:
        revoked = keys.filter(revoked_at=None).update(revoked_at=timezone.now())
        self.message_user(request, f"{revoked} revoked.")


@admin.register(ExternalIdentity)
class ExternalIdentityAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # Django's class takes no parameters when run
    """Links accounts to an issuer's user names, so that its tokens sign the accounts in."""

    list_display = ("username", "issuer", "user_name", "created", "last_seen_at")
    list_select_related = ("user",)
    search_fields = ("username", "user__username", "user__email")
    autocomplete_fields = ("user",)
    readonly_fields = ("last_seen_at",)

    @admin.display(description="user", ordering="user__username")
    def user_name(self, identity: ExternalIdentity) -> str:
        return identity.user.get_username()


@admin.register(NoticeAddress)
class NoticeAddressAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # Django's class takes no parameters when run
    list_display = ("address", "customer", "created")
    list_select_related = ("customer",)
    search_fields = ("address", "customer__name")
    autocomplete_fields = ("customer",)


@admin.register(SignInFailures)
class SignInFailuresAdmin(ReadOnlyAdmin):
    list_display = ("digest", "failures", "since")


@admin.register(Suppression)
class SuppressionAdmin(ReadOnlyAdmin):
    list_display = ("customer", "reason", "since")
    list_select_related = ("customer",)
    list_filter = ("reason",)


@admin.register(SeenAdministrator)
class SeenAdministratorAdmin(ReadOnlyAdmin):
    list_display = ("user_name", "customer", "seen_at")
    list_select_related = ("user", "customer")
    search_fields = ("user__username", "user__email", "customer__name")

    @admin.display(description="user", ordering="user__username")
    def user_name(self, seen: SeenAdministrator) -> str:
        return seen.user.get_username()


@admin.register(JwkSet)
class JwkSetAdmin(ReadOnlyAdmin):
    list_display = ("url", "fetched_at", "due_at")
    search_fields = ("url",)
    actions = ("fetch_again",)

    def has_fetch_permission(self, request: HttpRequest) -> bool:
        """Requesting another fetch is the only change."""
        return request.user.has_perm("access.change_jwkset")

    @admin.action(description="Fetch again with the next token", permissions=["fetch"])
    def fetch_again(self, request: HttpRequest, sets: QuerySet[Any]) -> None:
        self.message_user(request, f"{sets.update(fetched_at=None)} to be fetched.")


@admin.register(IdempotentRequest)
class IdempotentRequestAdmin(ReadOnlyAdmin):
    list_display = ("id", "user", "status", "created", "due_at", "lease_until")
    list_filter = ("status",)
    list_select_related = ("user",)
    deferred = ("body",)


@admin.register(RequestTally)
class RequestTallyAdmin(ReadOnlyAdmin):
    list_display = ("caller", "minute", "count")
    search_fields = ("caller",)
