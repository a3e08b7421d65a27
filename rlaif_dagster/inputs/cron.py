"""Checks schedules in the five fields of cron: numbers, ranges, lists and steps."""

import re
from typing import Final

_LIMITS: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
"""Lowest and highest value of minute, hour, day of the month, month, and day of the week (0 is Sunday)."""
_DAYS: Final = dict(zip(range(1, 13), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))
_PART: Final = re.compile(r"(?:\*|(\d{1,2})-(\d{1,2}))(?:/(\d{1,2}))?|(\d{1,2})", re.ASCII)


def is_cron(text: str) -> bool:
    """Says whether a text is a schedule that can occur: five fields, and a day that one of its months has."""
    fields = text.split()
    if len(fields) != len(_LIMITS):
        return False
    values = [_read_field(field, *limits) for field, limits in zip(fields, _LIMITS, strict=True)]
    days, months = values[2], values[3]
    return all(values) and min(days) <= max(_DAYS[month] for month in months)


def _read_field(field: str, low: int, high: int) -> set[int]:
    """Reads the values of a field; none if a part of it is wrong."""
    values: set[int] = set()
    for part in field.split(","):
        named = _read_part(part, low, high)
        if not named:
            return set()
        values.update(named)
    return values


def _read_part(part: str, low: int, high: int) -> range:
    found = _PART.fullmatch(part)
    if found is None:
        return range(0)
    first, last, step, single = found.groups()
    start = int(single or first or low)
    end = int(single or last or high)
    stride = int(step or 1)
    return range(start, end + 1, stride) if low <= start <= end <= high and 1 <= stride <= high else range(0)
