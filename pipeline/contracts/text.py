r"""Text from the web, made fit for UTF-8 JSON and for PostgreSQL.

JSON may hold what neither can store: NUL and lone surrogates. They are written out as the escapes `\x00` and `\ud800`,
so that two different texts stay different and nothing is lost.
"""

import re

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """The same text, with NUL and lone surrogates written out."""
    return _UNSTORABLE.sub(_written_out, text)


def is_garbled(text: str) -> bool:
    """Whether these were bytes that are no UTF-8: Python hands them on as characters that nothing can write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _written_out(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
