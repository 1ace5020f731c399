"""When a credential has lost its permissions, and not only some of its properties. Pure: time is an argument."""

from collections import defaultdict

LEAST = 10
"""Properties. Fewer that are refused are halted one by one."""
WINDOW_S = 300.0


class LostPermissions:
    """Answers of each credential's properties: permission, or none.

    A credential has lost its permissions when at least LEAST of its properties were refused since its last success,
    and they are more than half of those that were answered in the last WINDOW_S. After that every refusal says the
    same, until a success.
    """

    def __init__(self) -> None:
        self._answered: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._refused: defaultdict[str, set[str]] = defaultdict(set)
        self._lost: set[str] = set()

    def succeeded(self, credential: str, url: str, now: float) -> None:
        """Record that a property was read."""
        self._answered[credential][url] = now
        self._refused.pop(credential, None)
        self._lost.discard(credential)

    def refused(self, credential: str, url: str, now: float) -> frozenset[str]:
        """Record that a property was refused.

        Return the properties that were refused since the last success if the credential has lost its permissions,
        else nothing.
        """
        answered, refused = self._answered[credential], self._refused[credential]
        answered[url] = now
        refused.add(url)
        recent = sum(moment > now - WINDOW_S for moment in answered.values())
        if len(refused) >= LEAST and len(refused) > recent / 2:
            self._lost.add(credential)
        return frozenset(refused) if credential in self._lost else frozenset()
