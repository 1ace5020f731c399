"""Pacific time, in which Search Console counts its dates and Google its daily quotas. Pure."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

PACIFIC = ZoneInfo("America/Los_Angeles")


def pacific_date(moment: datetime) -> date:
    """Return the date in Pacific time at a moment."""
    return moment.astimezone(PACIFIC).date()


def next_pacific_day(moment: datetime) -> datetime:
    """Return the next midnight in Pacific time, when Google's daily quotas start again."""
    return datetime.combine(pacific_date(moment) + timedelta(days=1), time(), PACIFIC)
