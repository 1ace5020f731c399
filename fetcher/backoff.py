"""How long to wait before trying again. Pure: the random number comes in."""

import math

FIRST_S = 1.0
LONGEST_S = 60.0


def full_jitter(attempt: int, draw: float) -> float:
    """Seconds before attempt `attempt + 1`; `draw` is uniform in [0, 1). (AWS's "full jitter".)"""
    return draw * min(LONGEST_S, math.ldexp(FIRST_S, attempt))
