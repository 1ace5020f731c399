"""The types of the functions that receive progress."""

from collections.abc import Callable

Progress = Callable[[str], None]
"""Receives a line about what a slow operation is doing, for example `print`."""
ShowProgress = Callable[[str, int, int], None]
"""Receives a text, the amount done, and the total."""
