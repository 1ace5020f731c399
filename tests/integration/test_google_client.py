"""Google's own client, with its bundled discovery document, against the simulator."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httplib2
import pytest
from google.oauth2 import service_account
from google_auth_httplib2 import AuthorizedHttp
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from googleapiclient.http import BatchHttpRequest

from lab.search_console.server import Simulator
from lab.search_console.settings import Fault, Quotas, SimulatorSettings, Site, User
from pipeline.clock import now
from pipeline.pacific import pacific_date
from support.simulator import serving

DAY = pacific_date(now()) - timedelta(days=10)
SITE = "sc-domain:example.com"
SCOPES = ["https://www.googleapis.com/auth/webmasters.readonly"]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    sites = (
        Site(url=SITE, users=("reader",), rows=100, cap_days=(DAY,)),
        Site(url="https://other.example/", users=("somebody",)),
    )
    users = (User(id="reader"), User(id="somebody"))
    with serving(SimulatorSettings(sites=sites, users=users, quotas=Quotas(site_qpm=8))) as running:
        yield running


@pytest.fixture
def google(simulator: Simulator) -> Iterator[Any]:
    info = simulator.engine.tokens.credential_file("reader", simulator.root)
    credentials = service_account.Credentials.from_service_account_info(info, scopes=SCOPES)
    http = AuthorizedHttp(credentials, http=httplib2.Http())
    client = build(
        "searchconsole", "v1", http=http, static_discovery=True, client_options={"api_endpoint": simulator.root}
    )
    yield client
    client.close()


def query(google: Any, site: str = SITE, **changes: Any) -> Any:
    body = {"startDate": str(DAY), "endDate": str(DAY), "dimensions": ["query", "page"], "rowLimit": 25_000} | changes
    return google.searchanalytics().query(siteUrl=site, body=body)


def reason_of(error: HttpError) -> str:
    return str(json.loads(error.content)["error"]["errors"][0]["reason"])


def test_the_list_of_sites_belongs_to_the_user(google: Any) -> None:
    assert google.sites().list().execute() == {"siteEntry": [{"siteUrl": SITE, "permissionLevel": "siteFullUser"}]}


def test_googles_paging_loop_reads_every_row_of_a_day_at_the_cap(google: Any) -> None:
    rows, start = set(), 0
    while page := query(google, startRow=start).execute().get("rows"):
        rows |= {tuple(row["keys"]) for row in page}
        start += 25_000
    assert len(rows) == 50_484
    assert start == 75_000


def test_errors_have_googles_reasons(google: Any, simulator: Simulator) -> None:
    with pytest.raises(HttpError) as forbidden:
        query(google, "https://other.example/").execute()
    assert (forbidden.value.resp.status, reason_of(forbidden.value)) == (403, "forbidden")
    with pytest.raises(HttpError) as bad:
        query(google, rowLimit=0).execute()
    assert bad.value.resp.status == 400
    simulator.engine.faults.replace((Fault(kind="503", count=1),))
    with pytest.raises(HttpError) as unavailable:
        query(google).execute()
    assert unavailable.value.resp.status == 503


def test_the_quota_is_enforced(google: Any) -> None:
    for _ in range(8):
        query(google, rowLimit=1).execute()
    with pytest.raises(HttpError) as caught:
        query(google, rowLimit=1).execute()
    assert (caught.value.resp.status, reason_of(caught.value)) == (403, "quotaExceeded")


def test_each_call_of_a_batch_succeeds_or_fails_alone(google: Any, simulator: Simulator) -> None:
    google.sites().list().execute()  # a token: a batch that fetches one leaves that connection open
    simulator.engine.faults.replace((Fault(kind="500", day=DAY - timedelta(days=1)),))
    answers: dict[str, Any] = {}
    # The client's own factory takes the batch's address from the discovery document, not from api_endpoint.
    batch = BatchHttpRequest(
        callback=lambda name, answer, error: answers.update({name: error or answer}),
        batch_uri=f"{simulator.root}/batch",
    )
    for number in range(3):
        day = str(DAY - timedelta(days=number))
        batch.add(query(google, startDate=day, endDate=day, dimensions=["date"]), request_id=day)
    batch.execute()
    assert len(simulator.engine.calls) == 3
    assert all(call.in_batch for call in simulator.engine.calls)
    assert isinstance(answers[str(DAY - timedelta(days=1))], HttpError)
    for number in (0, 2):
        day = str(DAY - timedelta(days=number))
        assert [row["keys"] for row in answers[day].get("rows", [])] in ([[day]], [])


def test_a_truncated_part_does_not_affect_the_other_part(google: Any, simulator: Simulator) -> None:
    google.sites().list().execute()
    simulator.engine.faults.replace((Fault(kind="truncated"),))
    answers: dict[str, Any] = {}
    batch = BatchHttpRequest(
        callback=lambda name, answer, error: answers.update({name: error or answer}),
        batch_uri=f"{simulator.root}/batch",
    )
    batch.add(google.sites().list(), request_id="sites")
    batch.add(query(google, dimensions=["country"]), request_id="rows")
    batch.execute()
    assert answers["sites"] == google.sites().list().execute()
    with pytest.raises(json.JSONDecodeError):
        json.loads(answers["rows"])  # the client hands out what it cannot read


def test_filters_and_aggregation(google: Any) -> None:
    groups = [{"filters": [{"dimension": "country", "operator": "equals", "expression": "jpn"}]}]
    every = query(google, dimensions=["country"]).execute()
    found = query(google, dimensions=["country"], dimensionFilterGroups=groups, aggregationType="byPage").execute()
    assert [row["keys"] for row in found["rows"]] == [["jpn"]]
    assert found["rows"][0] in every["rows"]
    assert (every["responseAggregationType"], found["responseAggregationType"]) == ("byProperty", "byPage")
    with pytest.raises(HttpError) as caught:
        query(google, aggregationType="byProperty").execute()
    assert (caught.value.resp.status, reason_of(caught.value)) == (400, "invalidParameter")


def test_a_url_without_its_trailing_slash_is_a_bad_request(google: Any) -> None:
    with pytest.raises(HttpError) as caught:
        query(google, "https://other.example").execute()
    assert caught.value.resp.status == 400


def test_expired_tokens_are_replaced(google: Any, simulator: Simulator) -> None:
    google.sites().list().execute()
    simulator.engine.tokens.expire()
    google.sites().list().execute()
    assert simulator.engine.tokens.issued_count == 2


def test_a_revoked_user_gets_no_token(google: Any, simulator: Simulator) -> None:
    from google.auth.exceptions import RefreshError

    simulator.engine.tokens.revoked.add("reader")
    with pytest.raises(RefreshError, match="invalid_grant"):
        google.sites().list().execute()
