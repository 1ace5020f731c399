r"""Text from the web, made storable in UTF-8 and in PostgreSQL.

JSON may contain NUL and lone surrogates, which neither can store. They are replaced by the escapes `\x00` and `\ud800`,
so that two different texts stay different and nothing is lost.
"""

import re

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """Return the text with NUL and lone surrogates escaped."""
    return _UNSTORABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
