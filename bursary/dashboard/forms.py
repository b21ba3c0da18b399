"""The forms for assigning: a search by title, and one course or run for a list of addresses."""

import re
from dataclasses import dataclass

from django import forms


@dataclass(frozen=True)
class Choice:
    """A course or run at the price that the page showed. `str()` is the form field's value."""

    price_cents: int
    content_key: str

    def __str__(self) -> str:
        return f"{self.price_cents} {self.content_key}"


@dataclass(frozen=True)
class Entry:
    """A piece of text that should be an address, and its line, from 1."""

    line: int
    text: str


class SearchForm(forms.Form):
    q = forms.CharField(label="Part of the title", required=False, max_length=255, widget=forms.SearchInput)


class AssignForm(forms.Form):
    """One course or run, and its learners. `allocation` checks the addresses."""

    course = forms.RegexField(
        r"^[0-9]{1,13} \S{1,255}\Z",
        error_messages={"required": "Choose a course or a run.", "invalid": "Choose a course or a run."},
    )
    addresses = forms.CharField(
        label="E-mail addresses",
        help_text="One on each line, or with commas or semicolons between them.",
        strip=False,  # leading empty lines count in line numbers
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "autocomplete": "off"}),
        error_messages={"required": "Enter at least one address."},
    )

    def clean_course(self) -> Choice:
        """Return the content key and the price that the page showed."""
        price, _, content_key = self.cleaned_data["course"].partition(" ")
        return Choice(int(price), content_key)

    def clean_addresses(self) -> list[Entry]:
        """Split lines at commas and semicolons. Raises ValidationError if nothing is left."""
        lines = re.split(r"\r\n|\r|\n", self.cleaned_data["addresses"])
        pieces = ((number, piece) for number, line in enumerate(lines, 1) for piece in re.split("[,;]", line))
        entries = [Entry(number, piece.strip()) for number, piece in pieces if piece.strip()]
        if not entries:
            raise forms.ValidationError("Enter at least one address.")
        return entries

    @property
    def choice(self) -> Choice | None:
        """The valid choice after `is_valid()`, else None."""
        return getattr(self, "cleaned_data", {}).get("course")
