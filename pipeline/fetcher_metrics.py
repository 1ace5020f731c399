"""The metrics of the fetcher, as data."""

from pipeline.metric import FETCHER, Metric

_QUOTA_SCOPES = ("property", "credential", "project")
_WAIT_REASONS = ("tokens", "outage", "concurrency", "http", "publishing", "backpressure", "control", "lease", "idle")

FETCHER_METRICS = (
    Metric(
        "gsc_unknown_batches",
        "gauge",
        (),
        FETCHER,
        "Batches of properties that this process' catalog does not have yet; they wait for a new version of it.",
    ),
    Metric("gsc_calls_total", "counter", ("credential", "outcome"), FETCHER, "Calls to Search Console by outcome."),
    Metric(
        "gsc_failed_calls_total",
        "counter",
        ("credential", "reason"),
        FETCHER,
        "Failed calls whose page is tried again: timeouts, broken connections, 5xx, the answers of a proxy.",
    ),
    Metric(
        "gsc_quota_refusals_total",
        "counter",
        ("kind",),
        FETCHER,
        "Calls that Google refused because of a quota, by the kind of scope.",
        _QUOTA_SCOPES,
    ),
    Metric(
        "gsc_quota_warnings_total",
        "counter",
        ("kind",),
        FETCHER,
        "Times that the calls of one minute reached 80 % of Google's quota, by the kind of scope.",
        _QUOTA_SCOPES,
    ),
    Metric(
        "gsc_call_seconds", "histogram", (), FETCHER, "Time from the start of a call until its response is complete."
    ),
    Metric("gsc_calls_in_flight", "gauge", (), FETCHER, "Calls in progress."),
    Metric(
        "gsc_circuit_open",
        "gauge",
        ("credential",),
        FETCHER,
        "1 while every call of a credential fails, so that only one call tries now and then; 0 afterwards.",
    ),
    Metric(
        "gsc_batches_uncommitted",
        "gauge",
        (),
        FETCHER,
        "Batches that were requested from Google and are not committed. After a kill, the next owner repeats them.",
    ),
    Metric(
        "gsc_calls_last_minute",
        "gauge",
        ("credential",),
        FETCHER,
        "Calls that this process made with a credential in the last minute.",
    ),
    Metric(
        "gsc_calls_allowed_per_minute",
        "gauge",
        ("credential",),
        FETCHER,
        "Current rate of the credential's token bucket, in calls per minute.",
    ),
    Metric(
        "gsc_tokens", "gauge", ("credential",), FETCHER, "Tokens in the credential's bucket. Each call takes one token."
    ),
    Metric(
        "gsc_project_calls_last_minute",
        "gauge",
        ("project",),
        FETCHER,
        "Calls in the last minute by Google Cloud project.",
    ),
    Metric(
        "gsc_project_calls_allowed_per_minute",
        "gauge",
        ("project",),
        FETCHER,
        "Rate of this fetcher's share of a project's quota, in calls a minute.",
    ),
    Metric(
        "gsc_property_calls_last_minute_max",
        "gauge",
        (),
        FETCHER,
        "Most calls that a property had made in a minute, at the starts of the calls of the last minute.",
    ),
    Metric(
        "gsc_property_utilisation_max",
        "gauge",
        (),
        FETCHER,
        "Highest ratio of such calls of a property to the rate of its bucket.",
    ),
    Metric(
        "gsc_page_seconds",
        "histogram",
        (),
        FETCHER,
        "Time from the start of a call until the broker has acknowledged the rows of its page.",
    ),
    Metric(
        "gsc_wait_seconds_total",
        "counter",
        ("reason",),
        FETCHER,
        "Time in which the fetcher started no call, by what it waited for.",
        _WAIT_REASONS,
    ),
    Metric("gsc_queued_batches", "gauge", (), FETCHER, "Batches that were read and not requested from Google yet."),
    Metric(
        "gsc_pages_total",
        "counter",
        ("outcome",),
        FETCHER,
        "Pages finished by the fetcher, by outcome: `done`, `unchanged` (their rows were not sent), `dead` or"
        " `deferred`.",
        ("done", "unchanged", "dead", "deferred"),
    ),
    Metric(
        "gsc_sink_lag_messages",
        "gauge",
        (),
        FETCHER,
        "Results that the sink has not committed, as last read by the fetcher.",
    ),
)
