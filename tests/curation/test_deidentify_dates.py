from datetime import date, timedelta

import pytest

from medimg.curation.deidentify_dates import cap_age, keep_time, shift_date, shift_datetime


def test_dates_move_as_the_calendar_does():
    day = date(1999, 12, 1)
    for step in range(0, 3000, 7):
        start = day + timedelta(step)
        assert shift_date(f"{start:%Y%m%d}", -1234) == f"{start - timedelta(1234):%Y%m%d}"
    assert shift_date("20240229", 366) == "20250301"


@pytest.mark.parametrize("text", ["", "2024", "20240230", "00010101", "Doe", "20240101-20240201", "99999999"])
def test_what_is_no_day_is_not_moved(text):
    assert shift_date(text, -1) is None
    assert shift_datetime(text, -1) is None


def test_times_zones_and_ages():
    assert shift_datetime("20240301", -1) == "20240229"
    assert shift_datetime("2024030112+0000", -1) == "2024022912+0000"
    assert shift_datetime("20240301 Doe", -1) is None
    assert keep_time("12:30:00") == "12:30:00"
    assert cap_age("1068M") is None  # four digits are no age
    assert cap_age("999W") == "999W"
    assert cap_age(" 090Y") == "090Y"
