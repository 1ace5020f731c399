"""The access token of one credential: how long it is used, and what a refusal of it means. Pure."""

REFRESH_MARGIN_S = 225.0
"""Seconds before its end at which a token is replaced; as in google-auth, the servers' caches expire earlier."""
REFRESH_MARGIN_RATIO = 0.1
"""The margin of a token that lives for less than forty minutes, as a share of its life."""
SHORTEST_USE_S = 1.0
"""A token that has expired by this machine's clock is used for as long, since the clock may be wrong."""


def seconds_of_use(life_s: float | None) -> float:
    """Return for how many seconds a token is used that is valid for `life_s`; None: until it is refused."""
    if life_s is None:
        return float("inf")
    return max(life_s - min(REFRESH_MARGIN_S, life_s * REFRESH_MARGIN_RATIO), SHORTEST_USE_S)


class AccessToken:
    """The current token of a credential, shared by its calls; times are on a monotonic clock.

    A refusal belongs to the token, not to the page whose call was refused: the token is dropped, and the next call
    obtains another. The credential itself is refused only when the first answer to a token that replaced a refused one
    is a refusal, too.
    """

    def __init__(self) -> None:
        self._value: str | None = None
        self._use_until = 0.0
        self._replaces_refused = False

    def usable(self, now: float) -> str | None:
        """Return the token, or None when another must be obtained."""
        return self._value if now < self._use_until else None

    def obtained(self, value: str, life_s: float | None, now: float) -> None:
        """Use a new token from now on."""
        self._value = value
        self._use_until = now + seconds_of_use(life_s)

    def accepted(self, value: str) -> None:
        """Record the end of a call with this token that was not a refusal of it."""
        if value == self._value:
            self._replaces_refused = False

    def refused(self, value: str) -> bool:
        """Drop a token that the API refused; return whether the credential is refused with it.

        A token that another call has replaced already says nothing about the current one.
        """
        if value != self._value:
            return False
        is_final = self._replaces_refused
        self._value, self._use_until, self._replaces_refused = None, 0.0, True
        return is_final
