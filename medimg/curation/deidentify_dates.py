"""Dates moved by whole days, so that every interval of a patient, and the time of day, stays exact."""

import re
from datetime import date, timedelta

_DA = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_DT = re.compile(r"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?")
_TM = re.compile(r"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?")
_AGE = re.compile(r"(\d{3})([DWMY])")
_PER_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}
_OLDEST = 89


def shift_date(text: str, days: int) -> str | None:
    """Move a DA value; ``None`` where it is no full date.

    Example:
        >>> shift_date("20240301", -1), shift_date("2023.03.01", -1), shift_date("202403", -1)
        ('20240229', '20230228', None)
    """
    found = _DA.fullmatch(text.strip(" \0"))
    if not found:
        return None
    try:
        moved = date(*(int(part) for part in found.groups())) + timedelta(days)
    except (ValueError, OverflowError):
        return None
    return f"{moved:%Y%m%d}" if moved.year >= 1000 else None


def shift_datetime(text: str, days: int) -> str | None:
    """Move a DT value, its time and zone left as they are; ``None`` where it does not name a day.

    A year or a month alone cannot move by days.

    Example:
        >>> shift_datetime("20240301235959.25+0130", -366), shift_datetime("2024", -366)
        ('20230301235959.25+0130', None)
    """
    found = _DT.fullmatch(text.strip(" \0"))
    moved = shift_date(found[1], days) if found else None
    return None if found is None or moved is None else f"{moved}{found[2] or ''}{found[3] or ''}"


def keep_time(text: str) -> str | None:
    """Return a TM value that is one, else ``None``: whole days leave the time of day as it is.

    Example:
        >>> keep_time("235959.5"), keep_time("after lunch")
        ('235959.5', None)
    """
    stripped = text.strip(" \0")
    return stripped if _TM.fullmatch(stripped) else None


def cap_age(text: str) -> str | None:
    """Return an AS value, with every age above 89 years as ``090Y``, which stands for 90 or more.

    Example:
        >>> cap_age("089Y"), cap_age("090Y"), cap_age("103Y"), cap_age("999M"), cap_age("old")
        ('089Y', '090Y', '090Y', '999M', None)
    """
    found = _AGE.fullmatch(text.strip(" \0"))
    if not found:
        return None
    years = int(found[1]) / _PER_YEAR[found[2]]
    # 89 years and 11 months are still 89.
    return "090Y" if years >= _OLDEST + 1 else found[0]
