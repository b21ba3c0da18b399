"""The forms of remedies: another address, a later deadline, the reason for skipping failed work."""

from collections.abc import Mapping
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bursary.assignments.extension import Span
from bursary.assignments.failures import LONGEST_REASON
from bursary.lib.moments import MomentField, zone_in_words


class CorrectAddressForm(forms.Form):
    """Another address for the learner. `address_corrections` checks it."""

    address = forms.CharField(
        label=gettext_lazy("New e-mail address"),
        max_length=1000,
        widget=forms.TextInput(attrs={"inputmode": "email", "autocomplete": "off", "spellcheck": "false"}),
    )


class ExtendForm(forms.Form):
    """A day in `zone`, the organisation's: learners can accept until its end.

    `days` are the first and the last day that a browser lets a user choose.
    """

    def __init__(self, *args: Any, zone: ZoneInfo, days: tuple[date, date], **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["until"] = MomentField(
            label=_("New deadline"),
            help_text=_("The learner can accept until the end of that day, %(zone)s.")
            % {"zone": zone_in_words(zone)},
            zone=zone,
            end_of_day=True,
            widget=forms.DateInput(attrs={"type": "date", "min": days[0], "max": days[1]}),
        )


SPANS: Mapping[Span, Any] = {Span.TWO_WEEKS: gettext_lazy("+2 weeks"), Span.MONTH: gettext_lazy("+1 month")}


def suggested_days(after: date) -> list[tuple[str, date]]:
    """Return two common extensions, two weeks and a month, in words with the resulting days."""
    return [(str(words), span.after(after)) for span, words in SPANS.items()]


class SkipForm(forms.Form):
    """The reason for skipping failed work."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        help_text=gettext_lazy("It stays on the timeline, for other administrators to read."),
        max_length=LONGEST_REASON,
        widget=forms.Textarea(attrs={"rows": 3}),
    )
