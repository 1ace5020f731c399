"""The dashboard of calls and quotas."""

from lab.monitoring.board import TOP, Board, Panel, Query, quantiles, rate, top

_USED = "sum by (credential) (gsc_calls_last_minute) / sum by (credential) (gsc_calls_allowed_per_minute)"
_USED_BY_PROJECT = (
    "sum by (project) (gsc_project_calls_last_minute) / sum by (project) (gsc_project_calls_allowed_per_minute)"
)

QUOTA = Board(
    "quota",
    "gsc-stream: quota",
    "Calls compared with Google's quotas, and what the fetchers wait for.",
    (
        Panel(
            "Calls against the limits",
            "percentunit",
            (Query("sum(gsc_calls_last_minute) / sum(gsc_calls_allowed_per_minute)"),),
            "Calls of the last minute as a share of what all credentials together may make.",
            "stat",
        ),
        Panel(
            "Credentials at their limit",
            "short",
            (Query(f"count({_USED} >= 0.95) or vector(0)"),),
            "Credentials that used 95 % or more of their limit in the last minute.",
            "stat",
            ((1, "blue"),),
        ),
        Panel(
            "Refusals in the last hour",
            "short",
            (Query("sum(increase(gsc_quota_refusals_total[1h]))"),),
            "Calls that Google refused because a quota is spent.",
            "stat",
            ((1, "orange"), (100, "red")),
        ),
        Panel(
            f"Calls against the limit (top {TOP})",
            "percentunit",
            (Query(top(_USED), "{{credential}}"),),
            "Calls of the last minute as a share of the limit of the credential. The limit is reduced when Google "
            "refuses calls because of a quota, and recovers step by step.",
        ),
        Panel(
            f"Lowest limits (lowest {TOP})",
            "short",
            (Query(f"bottomk({TOP}, sum by (credential) (gsc_calls_allowed_per_minute))", "{{credential}}"),),
            "Calls that a credential may make in a minute now.",
        ),
        Panel(
            f"Calls in the last minute (top {TOP})",
            "short",
            (Query(top("sum by (credential) (gsc_calls_last_minute)"), "{{credential}}"),),
            "By credential.",
        ),
        Panel(
            f"Calls of Google Cloud projects against their limit (top {TOP})",
            "percentunit",
            (Query(top(_USED_BY_PROJECT), "{{project}}"),),
            "Calls of the last minute as a share of what the credentials of a project together may make.",
        ),
        Panel(
            "Calls by outcome",
            "cpm",
            (Query(f"60 * {rate('gsc_calls_total', 'outcome')}", "{{outcome}}"),),
            "Calls per minute.",
        ),
        Panel(
            "Calls that failed",
            "cpm",
            (Query(f"60 * {rate('gsc_failed_calls_total', 'reason')}", "{{reason}}"),),
            "Calls per minute whose page is tried again. http_403 without an error of Google: a proxy answers.",
        ),
        Panel(
            "Where the time goes",
            "percentunit",
            (Query(f"{rate('gsc_wait_seconds_total', 'reason')} / scalar(count(gsc_calls_in_flight))", "{{reason}}"),),
            "Share of the time in which a fetcher starts no call, by reason. tokens: the quota is the limit, as it "
            "should be. concurrency: the maximum number of calls is in flight. http: nothing is queued, calls are in "
            "flight. publishing: pages wait for the broker's acknowledgement.",
            "stacked",
        ),
        Panel(
            f"Tokens (top {TOP})",
            "short",
            (Query(top("sum by (credential) (gsc_tokens)"), "{{credential}}"),),
            "Calls that the credential's bucket allows immediately.",
        ),
        Panel(
            "Calls of the busiest property",
            "short",
            (Query("max(gsc_property_calls_last_minute_max)", "calls in the last minute"),),
            "Only the busiest property is shown, because there may be thousands.",
        ),
        Panel(
            "Utilization of the property nearest to its limit",
            "percentunit",
            (Query("max(gsc_property_utilisation_max)", "utilization"),),
            "Calls in the last minute as a share of what the property's bucket allows.",
        ),
        Panel(
            "Quota refusals and warnings per hour",
            "short",
            (
                Query("sum by (kind) (increase(gsc_quota_refusals_total[1h]))", "refused: {{kind}}"),
                Query("sum by (kind) (increase(gsc_quota_warnings_total[1h]))", "near the quota: {{kind}}"),
            ),
            "Calls that Google refused because a quota is spent, and minutes with 80 % or more of a hard quota.",
        ),
        Panel("Call latency", "s", quantiles("gsc_call_seconds"), "From the start of a call to its complete response."),
        Panel(
            "Page latency",
            "s",
            quantiles("gsc_page_seconds"),
            "From the start of a call until the broker has acknowledged its rows.",
        ),
        Panel(
            "Calls and batches in progress",
            "short",
            (
                Query("sum(gsc_calls_in_flight)", "calls in flight"),
                Query("sum(gsc_batches_uncommitted)", "batches started, not committed"),
                Query("sum(gsc_queued_batches)", "batches queued"),
            ),
            "Batches that are started and not committed are repeated if the fetcher is killed.",
        ),
    ),
)
