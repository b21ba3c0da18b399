"""Django's rules for passwords, in plain sentences."""

from django.contrib.auth import password_validation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext


class NotSimilarToUser(password_validation.UserAttributeSimilarityValidator):
    """Refuses a password that is similar to a name or the address of its owner."""

    def get_error_message(self) -> str:
        """Return why it is refused."""
        return _("It is too much like your name or your address. Choose another one.")

    def get_help_text(self) -> str:
        """Return the rule."""
        return _("Not much like your name or your address.")


class LongEnough(password_validation.MinimumLengthValidator):
    """Refuses a short password."""

    def get_error_message(self) -> str:
        """Return why it is refused."""
        words = ngettext(
            "It is too short: use %(count)s character or more.",
            "It is too short: use %(count)s characters or more.",
            self.min_length,
        )
        return words % {"count": self.min_length}

    def get_help_text(self) -> str:
        """Return the rule."""
        words = ngettext(
            "%(count)s character or more: several words are easy to remember.",
            "%(count)s characters or more: several words are easy to remember.",
            self.min_length,
        )
        return words % {"count": self.min_length}


class NotCommon(password_validation.CommonPasswordValidator):
    """Refuses a password from the list of common ones."""

    def get_error_message(self) -> str:
        """Return why it is refused."""
        return _("Many people use it, so it is tried first. Choose another one.")

    def get_help_text(self) -> str:
        """Return the rule."""
        return _("Not one that many people use.")
