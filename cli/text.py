"""Values as text for people: no `None`, no `True`, no braces. Pure."""

from collections.abc import Mapping
from datetime import datetime

from pipeline.contracts.text import utc_text


def plain(value: object) -> str:
    """Return a value as the text of a cell; None is empty."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case datetime():
            return utc_text(value)
        case Mapping():
            return counts_text(value)
        case list() | tuple():
            return ", ".join(map(plain, value))
    return str(value)


def counts_text(counts: Mapping[str, int]) -> str:
    """Return numbers by name as a list: `60 applied, 2 dead`."""
    return ", ".join(f"{number:,} {name}" for name, number in sorted(counts.items())) or "none"


def duration_text(seconds: float | None) -> str:
    """Return a duration in its two largest units, such as `2 h 5 min`; None is unknown."""
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((number for number, (value, _) in enumerate(parts) if value), 3)
    return " ".join(f"{value} {unit}" for value, unit in parts[first : first + 2] if value or first == 3)
