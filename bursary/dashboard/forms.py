"""The forms to assign a course: a search of the catalog, and a course or run with a list of addresses."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4, uuid5
from zoneinfo import ZoneInfo

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bursary.assignments import pasted_lists
from bursary.assignments.allocation import LONGEST_MESSAGE
from bursary.assignments.pasted_lists import PastedList
from bursary.dashboard import messages
from bursary.lib.moments import MomentField, zone_in_words

LONGEST_LEFT_OUT = 10_000  # characters
LONGEST_FILE = 5_000_000  # bytes: 10,000 of the longest addresses, with names


@dataclass(frozen=True)
class Choice:
    """A course or run with the price that the page showed. `str()` is the form field's value."""

    price_cents: int
    content_key: str

    def __str__(self) -> str:
        return f"{self.price_cents} {self.content_key}"


class SearchForm(forms.Form):
    q = forms.CharField(
        label=gettext_lazy("Part of the title, the key or the partner's name"),
        required=False,
        max_length=255,
        widget=forms.SearchInput(attrs={"class": "form-control", "autocomplete": "off"}),
    )


class PlainText(forms.CharField):
    """Text of several lines, in which each line ends with one character, as in the mail."""

    def to_python(self, value: Any) -> str:
        """Return the text."""
        return (super().to_python(value) or "").replace("\r\n", "\n")


class AssignForm(forms.Form):
    """One course or run, and its learners. `allocation` checks the addresses.

    The due date is in `zone`, the organisation's.
    """

    course = forms.RegexField(
        r"^[0-9]{1,13} \S{1,255}\Z",
        error_messages=dict.fromkeys(("required", "invalid"), gettext_lazy("Choose a course or a run.")),
    )
    file = forms.FileField(
        label=gettext_lazy("Or a file"),
        help_text=gettext_lazy("A text or CSV file, with or without names. It is added to the list above."),
        required=False,
        allow_empty_file=True,
        widget=forms.FileInput(attrs={"accept": ".csv,.tsv,.txt,text/*", "class": "form-control"}),
    )
    left_out = forms.CharField(required=False)
    """Sentences on the parts that were left out of files added below other lines."""
    left_out_read = forms.BooleanField(
        label=gettext_lazy("I have read this: do not show it again"), required=False
    )
    addresses = forms.CharField(
        label=gettext_lazy("E-mail addresses"),
        help_text=gettext_lazy(
            "One on each line, or with commas or semicolons between them; names are left out."
        ),
        error_messages={"required": gettext_lazy("Enter at least one address.")},
        required=False,
        strip=False,  # leading empty lines count in line numbers
        widget=forms.Textarea(
            attrs={"rows": 8, "spellcheck": "false", "autocomplete": "off", "class": "form-control"}
        ),
    )
    message = PlainText(
        label=gettext_lazy("A message of your own, if you like"),
        help_text=gettext_lazy(
            "Plain text, in the e-mail about the assignment. Links in it cannot be clicked."
        ),
        max_length=LONGEST_MESSAGE,
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "class": "form-control"}),
    )
    allow_another = forms.BooleanField(
        label=gettext_lazy("Also assign it to learners who have its course, or another run of it"),
        required=False,
    )
    reallocate_declined = forms.BooleanField(
        label=gettext_lazy("Also assign it again to learners who declined it"), required=False
    )
    request = forms.UUIDField(required=False, widget=forms.HiddenInput)
    """New on each page, so that a form sent twice from one page is one request."""

    def __init__(self, *args: Any, zone: ZoneInfo, **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["request"].initial = uuid4
        self.fields["due_date"] = MomentField(
            label=_("Due date, if there is one"),
            help_text=_(
                "Learners can accept until the end of that day, %(zone)s; "
                "where an earlier deadline applies, until then."
            )
            % {"zone": zone_in_words(zone)},
            zone=zone,
            end_of_day=True,
            required=False,
            widget=forms.DateInput(attrs={"type": "date", "class": "form-control"}),
        )

    def clean_course(self) -> Choice:
        """Return the content key and the price that the page showed."""
        price, _separator, content_key = self.cleaned_data["course"].partition(" ")
        return Choice(int(price), content_key)

    def clean_file(self) -> str:
        """Return the file's text. Raises ValidationError if it is too long, or not text."""
        file = self.cleaned_data["file"]
        if file is None:
            return ""
        if file.size > LONGEST_FILE:
            raise forms.ValidationError(_("The file is too long: divide it."))
        text = pasted_lists.decoded(file.read())
        if "\0" in text:
            raise forms.ValidationError(_("The file is no text. Save the list as CSV, and choose that file."))
        return text

    def clean_addresses(self) -> PastedList:
        """Return the learners of the list and the file. Raises ValidationError if there are none.

        Browsers do not send a file again, so the list then shows its text or, below other lines, its
        learners. Sentences on the other parts of the file are kept beside the list until the user dismisses
        them.
        """
        text, below = self.cleaned_data["addresses"], pasted_lists.PastedList()
        is_read = self.cleaned_data["left_out_read"] or not text.strip()
        left_out = "" if is_read else self.cleaned_data["left_out"]
        if from_file := self.cleaned_data.get("file", ""):
            text, below = pasted_lists.joined(text, from_file) if text.strip() else (from_file, below)
            self.data = {**self.typed, "addresses": text}
        people = pasted_lists.parse(text)
        below.entries = people.entries
        left_out = " ".join(filter(None, [left_out, messages.left_out(below)]))[:LONGEST_LEFT_OUT]
        if left_out != self.cleaned_data["left_out"]:
            self.data = {**self.typed, "left_out": left_out, "left_out_read": ""}
            self.cleaned_data["left_out"] = left_out
        if not people.entries:
            missing = self.fields["addresses"].error_messages["required"]
            raise forms.ValidationError(missing)
        return people

    def clean_reallocate_declined(self) -> bool | None:
        """Return True if it is checked, else None, with which the organisation's setting decides."""
        return self.cleaned_data["reallocate_declined"] or None

    @property
    def typed(self) -> dict[str, str]:
        """The input, each field as one text; after `is_valid()`, the list includes the file."""
        return {name: self.data[name] for name in self.data}

    @property
    def choice(self) -> Choice | None:
        """The valid choice after `is_valid()`, else None."""
        return getattr(self, "cleaned_data", {}).get("course")

    @property
    def due_date(self) -> datetime | None:
        """The due date after `is_valid()`; None if there is none, or it is invalid."""
        return getattr(self, "cleaned_data", {}).get("due_date")

    @property
    def batch_uuid(self) -> UUID:
        """The batch's uuid for a valid form: the same if one page sends the same form again."""
        beside = ("request", "file", "left_out", "left_out_read")
        asked = {name: value for name, value in self.cleaned_data.items() if name not in beside}
        asked["addresses"] = [entry.text for entry in asked["addresses"].entries]
        token = self.cleaned_data["request"]
        return uuid5(token, repr(sorted(asked.items()))) if token else uuid4()
