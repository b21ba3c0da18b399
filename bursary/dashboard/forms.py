"""What people type, read once: a search, and an order of one course or run for a list of addresses."""

import re
from dataclasses import dataclass

from django import forms


@dataclass(frozen=True)
class Choice:
    """A course or run at the price that it was shown with. As text, what the form carries."""

    price_cents: int
    content_key: str

    def __str__(self) -> str:
        return f"{self.price_cents} {self.content_key}"


@dataclass(frozen=True)
class Entry:
    """What should be an address, and the line it was typed in, counted from one."""

    line: int
    text: str


class SearchForm(forms.Form):
    """Looking for a title."""

    q = forms.CharField(label="Part of the title", required=False, max_length=255, widget=forms.SearchInput)


class AssignForm(forms.Form):
    """One course or run, and whom it is for. Whether the addresses can be used is not looked at here."""

    course = forms.RegexField(
        r"^[0-9]{1,13} \S{1,255}\Z",
        error_messages={"required": "Choose a course or a run.", "invalid": "Choose a course or a run."},
    )
    addresses = forms.CharField(
        label="E-mail addresses",
        help_text="One on each line, or with commas or semicolons between them.",
        strip=False,  # or the lines would be miscounted
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "autocomplete": "off"}),
        error_messages={"required": "Enter at least one address."},
    )

    def clean_course(self) -> Choice:
        """Return the content's key with the price that it was shown with."""
        price, _, content_key = self.cleaned_data["course"].partition(" ")
        return Choice(int(price), content_key)

    def clean_addresses(self) -> list[Entry]:
        """Return what is on the lines, between commas and semicolons. Raises ValidationError for nothing."""
        lines = re.split(r"\r\n|\r|\n", self.cleaned_data["addresses"])
        pieces = ((number, piece) for number, line in enumerate(lines, 1) for piece in re.split("[,;]", line))
        entries = [Entry(number, piece.strip()) for number, piece in pieces if piece.strip()]
        if not entries:
            raise forms.ValidationError("Enter at least one address.")
        return entries

    @property
    def choice(self) -> Choice | None:
        """What was chosen, once the form was checked."""
        return getattr(self, "cleaned_data", {}).get("course")
