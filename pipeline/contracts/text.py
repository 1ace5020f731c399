r"""Text from Search Console, made safe for UTF-8 and for PostgreSQL.

JSON can contain NUL, which PostgreSQL cannot store, and lone surrogates, which UTF-8 cannot encode. They become the
escapes `\x00` and `\ud800`, so that different texts stay different.
"""

import re

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """Return the text with NUL and lone surrogates replaced by their escapes."""
    return _UNSTORABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
