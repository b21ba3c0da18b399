"""The forms for assigning: a search by title, and one course or run for a list of addresses."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms

from bursary.assignments import pasted_lists
from bursary.assignments.pasted_lists import PastedList
from bursary.lib.moments import MomentField, zone_in_words

LONGEST_FILE = 5_000_000  # bytes: 10,000 of the longest addresses, and names


@dataclass(frozen=True)
class Choice:
    """A course or run at the price that the page showed. `str()` is the form field's value."""

    price_cents: int
    content_key: str

    def __str__(self) -> str:
        return f"{self.price_cents} {self.content_key}"


class SearchForm(forms.Form):
    q = forms.CharField(label="Part of the title", required=False, max_length=255, widget=forms.SearchInput)


class AssignForm(forms.Form):
    """One course or run, and its learners. `allocation` checks the addresses.

    The due date is meant in `zone`, the organisation's.
    """

    course = forms.RegexField(
        r"^[0-9]{1,13} \S{1,255}\Z",
        error_messages={"required": "Choose a course or a run.", "invalid": "Choose a course or a run."},
    )
    file = forms.FileField(
        label="Or a file",
        help_text="A text or CSV file, with or without names. It is added to the list above.",
        required=False,
        allow_empty_file=True,
    )
    addresses = forms.CharField(
        label="E-mail addresses",
        help_text="One on each line, or with commas or semicolons between them; names are left out.",
        required=False,
        strip=False,  # leading empty lines count in line numbers
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "autocomplete": "off"}),
    )

    allow_another = forms.BooleanField(
        label="Also assign it to learners who have its course, or another run of it", required=False
    )
    reallocate_declined = forms.BooleanField(
        label="Also assign it again to learners who declined it", required=False
    )

    def __init__(self, *args: Any, zone: ZoneInfo, **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["due_date"] = MomentField(
            label="Due date, if there is one",
            help_text=f"Learners can accept until the end of that day, {zone_in_words(zone)}; "
            "where an earlier deadline applies, until then.",
            zone=zone,
            end_of_day=True,
            required=False,
            widget=forms.DateInput(attrs={"type": "date"}),
        )

    def clean_course(self) -> Choice:
        """Return the content key and the price that the page showed."""
        price, _, content_key = self.cleaned_data["course"].partition(" ")
        return Choice(int(price), content_key)

    def clean_file(self) -> str:
        """Return the file's text. Raises ValidationError if it is too long, or is no text."""
        file = self.cleaned_data["file"]
        if file is None:
            return ""
        if file.size > LONGEST_FILE:
            raise forms.ValidationError("The file is too long: divide it.")
        text = pasted_lists.decoded(file.read())
        if "\0" in text:
            raise forms.ValidationError("The file is no text. Save the list as CSV, and choose that file.")
        return text

    def clean_addresses(self) -> PastedList:
        """Return the people of the list and the file. Raises ValidationError if there are none."""
        text = self.cleaned_data["addresses"]
        if from_file := self.cleaned_data.get("file", ""):
            text = f"{text}\n{from_file}" if text.strip() else from_file
            # Browsers do not send the file again: its text is shown in the list.
            self.data = {**self.data, "addresses": text}
        people = pasted_lists.read(text)
        if not people.entries:
            raise forms.ValidationError("Enter at least one address.")
        return people

    def clean_reallocate_declined(self) -> bool | None:
        """Return whether it is checked; if not, the organisation's setting decides, which None stands for."""
        return self.cleaned_data["reallocate_declined"] or None

    @property
    def choice(self) -> Choice | None:
        """The valid choice after `is_valid()`, else None."""
        return getattr(self, "cleaned_data", {}).get("course")

    @property
    def due_date(self) -> datetime | None:
        """The due date after `is_valid()`; None if there is none, or it cannot be read."""
        return getattr(self, "cleaned_data", {}).get("due_date")
