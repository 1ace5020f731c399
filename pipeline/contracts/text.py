r"""Times as text, and text from Search Console, made safe for UTF-8 and for PostgreSQL.

JSON can contain NUL, which PostgreSQL cannot store, and lone surrogates, which UTF-8 cannot encode. They become the
escapes `\x00` and `\ud800`, so that different texts stay different.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from difflib import get_close_matches

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """Return the text with NUL and lone surrogates replaced by their escapes."""
    return _UNSTORABLE.sub(_escape, text)


def utc_text(moment: datetime) -> str:
    """Return a time as text in UTC, to the second, such as `2026-03-01T12:00:00Z`."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def to_second(moment: datetime) -> datetime:
    """Return a time in UTC, to the second, as `utc_text` prints it."""
    return moment.astimezone(UTC).replace(microsecond=0)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown name: the known name that is most like it, or nothing."""
    nearest = get_close_matches(name, list(known), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
