"""Users, their roles per customer, API keys, and the links between learners and customers."""

import hashlib
import secrets
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.contrib.auth.models import AbstractUser, UserManager
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from bursary.access.mail_models import Suppression as Suppression
from bursary.access.mail_models import SuppressionReason as SuppressionReason
from bursary.access.request_models import IdempotentRequest as IdempotentRequest
from bursary.access.request_models import RequestTally as RequestTally
from bursary.access.sign_in_failures import SignInFailures as SignInFailures  # a table of this app
from bursary.budgets.models import Customer
from bursary.lib import mailbox
from bursary.lib.leases import LeasedRow
from bursary.lib.prepared import Parameter

# Passes of `account_linking` in which an account is read after a change: assignments may be committed late.
LINKING_PASSES = 10


def learner_key(address: str) -> str:
    """Return the key by which e-mail addresses are compared: the key of the canonical form."""
    return key_of_canonical(mailbox.comparable_text(address))


def key_of_canonical(address: str) -> str:
    """Return the learner key of an address in its canonical form: sha256, in hex.

    A digest, because equality of texts depends on the database's collation.
    """
    return hashlib.sha256(address.encode(errors="surrogatepass")).hexdigest()


def of_mailboxes(learner_keys: Collection[str] | Parameter) -> Q:
    """Return the condition that a row's address has one of these keys, even if the row is not re-keyed."""
    return Q(mailbox_key__in=learner_keys) | Q(learner_key__in=learner_keys)


class AddressedRow(models.Model):
    """A row with a learner's address and the key of its mailbox. Each model adds an index of `mailbox_key`.

    `learner_key` is kept beside it: an earlier release computes that differently, and links in sent mails
    depend on it. `mailbox_key` is NULL in a row of that release until it is re-keyed (decision 0011).
    """

    # NULL, because rows without a key must not collide in unique constraints.
    mailbox_key = models.CharField(max_length=64, null=True, editable=False)  # noqa: DJ001  # NULL, not empty: see above

    class Meta:
        abstract = True


class UserQuerySet(models.QuerySet["User"]):
    def update(self, **columns: Any) -> int:
        """Update accounts, but not their addresses, because only `save` keeps the earlier one.

        Raises TypeError for addresses, also from `bulk_update`, which calls this.
        """
        if "email" in columns:
            raise TypeError(
                "An account's address is changed by saving it, so that the earlier one stays known."
            )
        marked = {"linking_passes_left": LINKING_PASSES} if "lms_user_id" in columns else {}
        return super().update(**marked, **columns)


class AccountManager(UserManager["User"]):
    use_in_migrations = False

    def get_queryset(self) -> UserQuerySet:
        return UserQuerySet(self.model, using=self._db)


class User(AddressedRow, AbstractUser):
    """An account that can sign in. `lms_user_id` is the same person's id in the Open edX LMS."""

    lms_user_id = models.PositiveBigIntegerField(unique=True, null=True, blank=True)
    learner_key = models.CharField(max_length=64, blank=True, editable=False, db_index=True)
    reset_mailed_at = models.DateTimeField(null=True, blank=True, editable=False)
    """When the account was last mailed a link to set a new password."""
    reset_failed_at = models.DateTimeField(null=True, blank=True, editable=False, db_index=True)
    """When such a mail finally failed; empty after a later one is sent."""
    linking_passes_left = models.PositiveSmallIntegerField(
        null=True,
        default=LINKING_PASSES,
        db_default=LINKING_PASSES,
        editable=False,
        db_column="looks_left",  # the name when it was added
        db_index=True,
    )
    """In how many more passes of `account_linking` the account is read; empty: in none."""
    objects: ClassVar[AccountManager] = AccountManager()

    token_roles: "TokenRoles | None" = None
    """The roles of the token that signed this request in, instead of the account's grants. Never stored."""
    key_scope: "KeyScope | None" = None
    """The scope of the API key that signed this request in. Never stored."""

    class Meta(AbstractUser.Meta):
        indexes = [models.Index(fields=["mailbox_key"], name="user_of_mailbox")]

    def __str__(self) -> str:
        return str(self.pk)

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """Save, with the keys of the address. A replaced address is kept as an AccountAddress."""
        self.learner_key = self.mailbox_key = learner_key(self.email) if self.email else ""
        fields = None if update_fields is None else set(update_fields)
        if fields is None or fields & {"email", "lms_user_id"}:
            self.linking_passes_left = LINKING_PASSES
            fields = fields and {*fields, "linking_passes_left"}
        if fields is not None and "email" not in fields:
            return super().save(*args, update_fields=fields, **kwargs)
        fields = fields and {*fields, "learner_key", "mailbox_key"}
        with transaction.atomic():
            earlier = User.objects.filter(pk=self.pk).values_list("email", flat=True).first() or ""
            super().save(*args, update_fields=fields, **kwargs)
            AccountAddress.replace(earlier, user=self)
        return None

    def clean(self) -> None:
        """Refuse an address that no mail could be sent to, such as `root@localhost`."""
        super().clean()
        try:
            mailbox.canonical(self.email or "none@given.invalid")
        except mailbox.BadAddress as bad:
            raise ValidationError({"email": str(bad)}) from bad

    @property
    def learner_keys(self) -> set[str]:
        """The keys of the account's addresses, the present one and the others. One query."""
        others = self.other_addresses.values_list("learner_key", flat=True)
        return {key for key in (self.mailbox_key, *others) if key}


class AccountAddress(models.Model):
    """An earlier address of an account, or one that its learner has added.

    It belongs to one account. The row is deleted when an account has it as its present address.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="other_addresses")
    address = models.CharField(max_length=254)
    learner_key = models.CharField(max_length=64, unique=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "account addresses"

    def __str__(self) -> str:
        return str(self.pk)

    @classmethod
    def replace(cls, earlier: str, *, user: User) -> None:
        """Store the user's earlier address, unless another account has it."""
        cls.objects.filter(learner_key=user.mailbox_key).delete()
        key = learner_key(earlier)
        if earlier and key != user.mailbox_key and not User.objects.filter(of_mailboxes([key])).exists():
            cls.objects.get_or_create(learner_key=key, defaults={"user": user, "address": earlier})


class Role(models.TextChoices):
    ADMINISTRATOR = "administrator"
    """Assigns content to the learners of one customer and sees its budgets."""
    LEARNER = "learner"
    """Gets content assigned by one customer, and sees the own assignments."""
    OPERATOR = "operator"
    """Runs the service, with every permission for every customer."""


TokenRoles = frozenset[tuple[Role, UUID | None]]
"""Roles from a token, each with the uuid of its customer; None for operators, as in RoleGrant."""


class RoleGrant(models.Model):
    """A user's role with one customer. An operator's grant has no customer, and applies to all."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="role_grants")
    role = models.CharField(max_length=16, choices=Role.choices)
    customer = models.ForeignKey(
        Customer, null=True, blank=True, on_delete=models.CASCADE, related_name="role_grants"
    )
    # `customer` is NULL for operators, and no engine treats two NULLs as equal in a unique constraint.
    scope = models.CharField(max_length=36, blank=True, default="", editable=False)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "role", "scope"], name="one_grant_of_a_role"),
            models.CheckConstraint(
                name="only_operators_serve_every_customer",
                condition=Q(role=Role.OPERATOR, customer=None, scope="")
                | (~Q(role=Role.OPERATOR) & Q(customer__isnull=False) & ~Q(scope="")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.role}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save with the scope of the customer."""
        self.set_scope()
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Refuse a second grant of the same role: forms skip constraints on fields that they do not show."""
        self.set_scope()
        same = RoleGrant.objects.filter(user=self.user_id, role=self.role, scope=self.scope)
        if same.exclude(pk=self.pk).exists():
            raise ValidationError("This user has this role already.")

    def set_scope(self) -> None:
        """Set the scope, the customer's uuid. Call it before a bulk insert, or a CHECK refuses the row."""
        self.scope = str(self.customer.uuid) if self.customer else ""


class LearnerLink(AddressedRow):
    """Links a learner to a customer by address, also before the learner has an account."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="learner_links")
    learner_key = models.CharField(max_length=64)
    learner_email = models.CharField(max_length=254)
    created = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["customer", "learner_key"], name="a_learner_once_for_a_customer"),
        ]
        indexes = [models.Index(fields=["mailbox_key"], name="learner_link_of_mailbox")]

    def __str__(self) -> str:
        return str(self.pk)


class KeyScope(models.TextChoices):
    """The part of its user's permissions that a key has. Each scope includes those before it."""

    READ = "read", _("Read: see budgets, assignments and content")
    ALLOCATE = "allocate", _("Allocate: also assign content, extend deadlines and repair failed work")
    ADMINISTER = (
        "administer",
        _("Administer: also cancel, remind, and accept or decline your own assignments"),
    )
    OPERATE = "operate", _("Operate: everything that you may do")


class ApiKey(models.Model):
    """A key that signs its user in. It is shown once, and only its digest is stored."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=64)
    prefix = models.CharField(
        max_length=12, editable=False, help_text="The key's beginning, to distinguish keys"
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    scope = models.CharField(max_length=10, choices=KeyScope.choices, default="operate", db_default="operate")
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False)
    """The beginning of the hour in which the key last signed a request in."""

    class Meta:
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.prefix}…"

    @classmethod
    def issue(
        cls, user: User, *, name: str, scope: KeyScope = KeyScope.OPERATE, expires_at: datetime | None = None
    ) -> tuple["ApiKey", str]:
        """Make a key for `user`; return the row and the key itself, which is not stored."""
        key = f"bur_{secrets.token_urlsafe(32)}"
        kept = {"name": name, "scope": scope, "expires_at": expires_at}
        return cls.objects.create(user=user, prefix=key[:12], digest=cls.digest_of(key), **kept), key

    @staticmethod
    def digest_of(key: str) -> str:
        """Return the digest to store. A plain hash is enough: the key is 256 random bits, not a password."""
        return hashlib.sha256(key.encode()).hexdigest()

    def works_at(self, now: datetime) -> bool:
        """Return whether the key signs in at `now`."""
        return all(end is None or now < end for end in (self.revoked_at, self.expires_at))

    def note_use(self, *, now: datetime) -> None:
        """Store the hour of a use: one write an hour, from all requests and processes together."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        if self.last_used_at is None or self.last_used_at < hour:
            earlier = Q(last_used_at=None) | Q(last_used_at__lt=hour)
            ApiKey.objects.filter(earlier, pk=self.pk).update(last_used_at=hour)


class ExternalIdentity(models.Model):
    """Links an account to a user name of an issuer; its tokens then sign the account in (decision 0019).

    It is read by its digest, because equality of texts depends on the database's collation.
    """

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="external_identity")
    issuer = models.CharField(
        max_length=255, help_text="The claim iss of the account's tokens, as in BURSARY_JWT_ISSUER"
    )
    username = models.CharField(
        max_length=150, help_text="The claim preferred_username of the account's tokens"
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created = models.DateTimeField(auto_now_add=True)
    last_seen_at = models.DateTimeField(null=True, editable=False)
    """The beginning of the hour in which a token last signed a request in."""

    class Meta:
        verbose_name_plural = "external identities"

    def __str__(self) -> str:
        return str(self.pk)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save with the digest."""
        self.digest = self.digest_of(self.username, issuer=self.issuer)
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Refuse a second account for an identity, and staff accounts, which no token signs in."""
        digest = self.digest_of(self.username, issuer=self.issuer)
        if ExternalIdentity.objects.filter(digest=digest).exclude(pk=self.pk).exists():
            raise ValidationError("Another account has this identity.")
        if User.objects.filter(Q(is_staff=True) | Q(is_superuser=True), pk=self.user_id).exists():
            raise ValidationError("This is a staff account, which no token signs in.")

    @staticmethod
    def digest_of(username: str, *, issuer: str) -> str:
        """Return the digest of an issuer's user name."""
        return hashlib.sha256(f"{issuer}\0{username}".encode(errors="surrogatepass")).hexdigest()


class SeenAdministrator(models.Model):
    """An administrator of a customer by a token's roles, as a contact for notices. Grants no permission."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="seen_as_administrator")
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="seen_administrators")
    # With an index for the daily deletion of old rows.
    seen_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["customer", "user"], name="an_administrator_seen_once"),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class NoticeAddress(models.Model):
    """An address that gets a customer's notices instead of its administrators."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="notice_addresses")
    address = models.EmailField(max_length=254)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["customer", "address"], name="an_address_for_notices_once"),
        ]
        verbose_name_plural = "notice addresses"

    def __str__(self) -> str:
        return str(self.pk)

    def clean(self) -> None:
        """Set the canonical address; refuse one that no mail could be sent to."""
        try:
            self.address = mailbox.canonical(self.address)
        except mailbox.BadAddress as bad:
            raise ValidationError({"address": str(bad)}) from bad


class JwkSet(LeasedRow):
    """The last good JWK set of a URL. It may be fetched again at `due_at`; it is leased during a fetch."""

    url = models.CharField(max_length=255, unique=True)
    keys = models.TextField(blank=True, help_text="The JWK set, as JSON; empty before the first valid answer")
    fetched_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "JWK set"
        indexes = [models.Index(fields=["early", "due_at"], name="jwk_set_due")]

    def __str__(self) -> str:
        return self.url
