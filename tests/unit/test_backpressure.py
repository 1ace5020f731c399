"""The lag threshold that pauses publishing and calling."""

from fetcher.backpressure import LagThreshold


def test_work_pauses_at_the_upper_threshold_and_resumes_below_the_lower() -> None:
    threshold = LagThreshold(pause_at=800, resume_below=500)
    readings = [799, 800, 600, 500, 499, 799]
    assert [threshold.update(lag) for lag in readings] == [False, True, True, True, False, False]
