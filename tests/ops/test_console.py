"""Tables are as wide as the environment says, within reason."""

import pytest
from rich.text import Text

from bursary.ops.console import OperatorCommand


@pytest.mark.parametrize(
    ("columns", "width"),
    [("0", 20), ("1", 20), ("19", 20), ("20", 20), ("21", 21), ("60", 60), (None, 160)],
)
def test_text_is_as_wide_as_the_environment_says_and_at_least_twenty_columns(
    columns: str | None, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    shown = OperatorCommand().rendered(Text("x" * 400))
    assert shown.splitlines()[0] == "x" * width
    assert shown.count("x") == 400
