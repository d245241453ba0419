"""Columns of text."""

from tapsdk.commands.table import aligned, number


def test_columns_are_as_wide_as_they_need_to_be():
    assert aligned([("a", "bb", "c"), ("aaa", "", "cc")]) == "a    bb  c\naaa      cc"
    assert aligned([("a", "")], indent="  ") == "  a"
    assert aligned([]) == ""


def test_a_missing_number_is_a_dash():
    assert number(None, ".1f") == "-"
    assert number(1.25, ".1f") == "1.2"
    assert number(0.0, ".2g") == "0"
