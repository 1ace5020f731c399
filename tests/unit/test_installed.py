import os
from pathlib import Path

import pytest

import pipeline


@pytest.mark.skipif("GSC_TEST_INSTALLED" not in os.environ, reason="`make test` sets it: there it runs")
def test_the_tests_run_on_what_a_user_installs() -> None:
    assert "site-packages" in Path(pipeline.__file__).parts
