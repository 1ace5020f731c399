"""The newest days that the simulated world has final data of."""

from datetime import date, timedelta

from pipeline.clock import now, pacific_date

FINAL_AFTER_DAYS = 4


def last_day() -> date:
    """The newest day whose data is final."""
    return pacific_date(now()) - timedelta(days=FINAL_AFTER_DAYS)


def last_days(count: int) -> list[date]:
    """The newest final days, the newest first."""
    return [last_day() - timedelta(days=number) for number in range(count)]
