"""The values of Google's enumerations in their two spellings. Pure.

The reference and the answers have `byPage`, the discovery document has `BY_PAGE`; a request may have either.
"""

import re
from collections.abc import Iterable

_WORD_BORDER = re.compile(r"(?<=[a-z])(?=[A-Z])")


def document_spelling(name: str) -> str:
    """Return a value as the discovery document spells it."""
    return _WORD_BORDER.sub("_", name).upper()


def known_value(value: object, known: Iterable[str]) -> str | None:
    """Return the known value that is spelled in either way, or None."""
    return next((name for name in known if value in (name, document_spelling(name))), None)
