"""Values of options that several commands take."""

import argparse
from datetime import datetime

import pytest

from dks_study import cli
from dks_study.spec.options import next_time

NOON = datetime(2026, 3, 4, 12, 0).timestamp()


@pytest.mark.parametrize(
    ("text", "then"),
    [("13:30", (4, 13, 30)), ("12:01", (4, 12, 1)), ("12:00", (5, 12, 0)), ("08:00", (5, 8, 0)), ("0:05", (5, 0, 5))],
)
def test_a_time_of_the_day_is_the_next_one(text, then):
    day, hour, minute = then
    assert datetime.fromtimestamp(next_time(text, NOON)) == datetime(2026, 3, day, hour, minute)


@pytest.mark.parametrize("text", ["", "8", "24:00", "08:60", "8am", "08:00:00", "-1:00", "tomorrow", "08.00", "٣"])
def test_what_is_no_time_of_the_day_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"must be a time of the day such as 08:00, got"):
        next_time(text, NOON)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--finish-by", "8"), "--finish-by: must be a time of the day such as 08:00, got '8'"),
        (("--finish-by", "25:00"), "--finish-by: must be a time of the day such as 08:00, got '25:00'"),
        (("--finish-by",), "--finish-by: expected one argument"),
        (("--hours", "0"), "--hours: must be a number of hours above 0, got '0'"),
        (("--hours", "-1"), "--hours: must be a number of hours above 0, got '-1'"),
        (("--hours", "inf"), "--hours: must be a number of hours above 0, got 'inf'"),
        (("--hours", "nan"), "--hours: must be a number of hours above 0, got 'nan'"),
        (("--hours", "ten"), "--hours: must be a number of hours above 0, got 'ten'"),
        (("--hours", "1", "--finish-by", "08:00"), "--finish-by: not allowed with argument --hours"),
        (("--notify", ""), "--notify: must be a command, got ''"),
        (("--notify", "  "), "--notify: must be a command, got '  '"),
        (("--notify",), "--notify: expected one argument"),
    ],
)
def test_wrong_values_are_one_line(capsys, words, message):
    assert cli.main(["--space", "does_it_help", *words]) == 2
    assert capsys.readouterr() == ("", f"dks-study: {message}\n")
