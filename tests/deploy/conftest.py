"""These tests need programs that the first of them builds, which takes minutes on a fresh machine."""

from pathlib import Path

import pytest

BUILD_TIMEOUT_S = 1500


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(BUILD_TIMEOUT_S))
