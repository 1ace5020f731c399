"""The driver of a running pipeline: which days it requests and compares."""

from datetime import date
from typing import cast

import pytest

from lab import driver as driver_module
from lab import scenario
from lab.driver import Driver
from lab.local_pipeline import Services, Setup
from lab.scenario import RunningSimulator, last_days


def a_driver() -> Driver:
    return Driver(cast("Setup", None), cast("RunningSimulator", None), cast("Services", None))


def test_the_days_stay_the_same_when_midnight_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = a_driver()
    before = last_days(2, driver.newest_day)
    monkeypatch.setattr(scenario, "last_day", lambda: date(2099, 1, 1))
    monkeypatch.setattr(driver_module, "last_day", lambda: date(2099, 1, 1))
    assert last_days(2, driver.newest_day) == before
    assert last_days(2) == [date(2099, 1, 1), date(2098, 12, 31)]
