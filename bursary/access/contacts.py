"""The address that the learners of an organisation write to with questions."""

from django.db.models import QuerySet

from bursary.access.models import Role, User
from bursary.budgets.models import Customer


def administrators(customer_pk: int) -> QuerySet[User]:
    """Return the customer's administrators that can be written to, in the order of their accounts."""
    grants = {"role_grants__customer": customer_pk, "role_grants__role": Role.ADMINISTRATOR}
    return User.objects.filter(is_active=True, **grants).exclude(email="").order_by("pk").distinct()


def contact(customer: Customer) -> str:
    """Return the customer's `contact_email`, else its first administrator's address; empty without either.

    At most one query.
    """
    first = administrators(customer.pk).values_list("email", flat=True)
    return customer.contact_email or first.first() or ""
