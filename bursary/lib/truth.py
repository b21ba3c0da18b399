"""True and false, as they are sent in a query string."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import EMPTY_VALUES
from django.forms import NullBooleanField
from django.utils.translation import gettext as _


class TruthField(NullBooleanField):
    """True, false or nothing; another text is refused, not passed over."""

    def clean(self, value: Any) -> bool | None:
        """Return it; None for no text. Raises ValidationError."""
        found: bool | None = super().clean(value.lower() if isinstance(value, str) else value)
        if found is None and value not in EMPTY_VALUES:
            raise ValidationError(_("Give true or false."))
        return found
