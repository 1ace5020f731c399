"""When a credential has lost its permissions, instead of a few of its properties. Pure: time is an argument."""

from collections import defaultdict
from typing import NamedTuple

REFUSED_MARGIN = 10
"""By how many properties the refused ones must outnumber those that were read."""
PERMISSION_WINDOW_S = 300.0


class _Answer(NamedTuple):
    at: float
    refused: bool


class LostPermissions:
    """The last answer of each credential's properties: permission, or none.

    A credential has lost its permissions when, in the last PERMISSION_WINDOW_S, REFUSED_MARGIN more of its properties
    were refused than were read. A credential that has lost less than half of its properties hardly ever gets there, in
    whatever order they are called; these are halted one by one.
    """

    def __init__(self) -> None:
        self._answers: defaultdict[str, dict[str, _Answer]] = defaultdict(dict)

    def succeeded(self, credential: str, url: str, now: float) -> None:
        """Record that a property was read."""
        self._answers[credential][url] = _Answer(now, refused=False)

    def refused(self, credential: str, url: str, now: float) -> frozenset[str]:
        """Record that a property was refused.

        Return the properties that were refused lately if the credential has lost its permissions, else nothing. Then
        the answers so far are forgotten: after a resume only new ones count.
        """
        self._answers[credential][url] = _Answer(now, refused=True)
        recent = {
            name: answer for name, answer in self._answers[credential].items() if answer.at > now - PERMISSION_WINDOW_S
        }
        refused = frozenset(name for name, answer in recent.items() if answer.refused)
        is_lost = 2 * len(refused) >= len(recent) + REFUSED_MARGIN
        self._answers[credential] = {} if is_lost else recent
        return refused if is_lost else frozenset()
