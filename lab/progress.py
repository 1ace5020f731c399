"""The type of the functions that receive progress lines."""

from collections.abc import Callable

Progress = Callable[[str], None]
"""Receives a line about what a slow operation is doing, for example `print`."""
