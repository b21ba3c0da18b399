"""Curves of measurements: their slope by decades, their knee, and their pictures."""

from xml.etree import ElementTree

import pytest

from bench.curves import a_decade, knee, percentile, picture

SVG = "{http://www.w3.org/2000/svg}"


def test_growth_by_decades_is_that_of_the_line_through_the_points() -> None:
    assert a_decade([(10, 7), (100, 7), (1_000, 7)]) == pytest.approx(1)
    assert a_decade([(10, 3), (1_000, 300)]) == pytest.approx(10)
    assert a_decade([(1, 2), (10, 8), (100, 2), (1_000, 8)]) == pytest.approx(4 ** (1 / 5))  # by hand
    with pytest.raises(ValueError, match="two data points"):
        a_decade([(10, 7)])


def test_the_knee_is_the_least_load_with_nine_tenths_of_the_most_throughput() -> None:
    assert knee([(1, 40), (2, 79), (4, 90), (8, 100), (16, 98)]) == 4
    assert knee([(1, 100), (2, 50)]) == 1


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([5, 1, 4, 2, 3], 0.5) == 3
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile([7], 0.99) == 7
    assert percentile([], 0.5) == 0


def test_a_picture_has_each_point_a_line_and_a_name_for_each_curve_in_light_and_dark() -> None:
    curves = {
        "pages & lists": [(1e3, 12.0), (1e6, 13.0)],
        "allocation": [(10, 20.0), (100, 60.0), (1e3, 400.0)],
    }
    drawn = picture("Time <by size>", curves, across="rows", up="ms")
    root = ElementTree.fromstring(drawn)

    texts = [one.text for one in root.iter(f"{SVG}text")]
    assert {"Time <by size>", "rows", "ms", "pages & lists", "allocation"} <= set(texts)
    assert texts[1:7] == ["10", "100", "1,000", "10,000", "100,000", "1,000,000"]
    groups = root.findall(f"{SVG}g")
    assert [len(group.findall(f"{SVG}circle")) for group in groups] == [3, 4]  # one of each is the legend's
    assert [len(group.findall(f"{SVG}path")) for group in groups] == [1, 1]
    _left, _top, width, height = map(float, root.attrib["viewBox"].split())
    for dot in root.iter(f"{SVG}circle"):
        assert 0 <= float(dot.attrib["cx"]) <= width
        assert 0 <= float(dot.attrib["cy"]) <= height
    style = root.findtext(f"{SVG}style") or ""
    assert "prefers-color-scheme: dark" in style
    assert "#" not in drawn.replace(style, "")  # no colour but by the style


def test_higher_is_more_and_further_right_is_larger() -> None:
    root = ElementTree.fromstring(picture("", {"a": [(1, 1), (100, 1_000)]}, across="", up=""))
    first, last = root.findall(f".//{SVG}g/{SVG}circle")[:2]
    assert float(first.attrib["cx"]) < float(last.attrib["cx"])
    assert float(first.attrib["cy"]) > float(last.attrib["cy"])
