"""The HTTP server of a service, on a free port of this machine."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from aiohttp import web
from pydantic import SecretStr
from structlog.testing import capture_logs

from pipeline.health import HttpServer, problem, unauthorized
from pipeline.process import StartError
from pipeline.settings import HttpSettings

SETTINGS = HttpSettings(http_host="127.0.0.1", http_port=0, http_token=SecretStr("sécret"))


def well() -> None:
    """A check that finds nothing wrong."""


@asynccontextmanager
async def serving(
    settings: HttpSettings = SETTINGS, *, ready: Callable[[], str | None] = well, live: Callable[[], str | None] = well
) -> AsyncIterator[httpx.AsyncClient]:
    async def guarded(request: web.Request) -> web.Response:
        return unauthorized(request, settings) or problem(400, "wrong", "days")

    async def broken(_: web.Request) -> web.Response:
        raise ZeroDivisionError

    routes = [web.post("/guarded", guarded), web.get("/broken", broken)]
    server = HttpServer(settings, "sink", not_ready=ready, not_live=live, routes=routes)
    port = await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield client
    finally:
        await server.stop()


async def test_probes_answer_200_when_nothing_is_wrong() -> None:
    async with serving() as client:
        for path in ("/live", "/ready"):
            response = await client.get(path)
            assert (response.status_code, response.json()) == (200, {"ok": True, "reason": None})


async def test_probes_answer_503_with_the_reason() -> None:
    async with serving(ready=lambda: "no partitions", live=lambda: "no poll") as client:
        for path, reason in (("/live", "no poll"), ("/ready", "no partitions")):
            response = await client.get(path)
            assert (response.status_code, response.json()) == (503, {"ok": False, "reason": reason})


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "PostgreSQL: 10.1.2.3"),
        ({"X-Forwarded-For": "203.0.113.7"}, "not ready"),
        ({"Forwarded": "for=203.0.113.7"}, "not ready"),
        ({"X-Forwarded-For": "203.0.113.7", "Authorization": "Bearer sécret".encode()}, "PostgreSQL: 10.1.2.3"),
    ],
)
async def test_strangers_do_not_learn_why_a_service_is_not_ready(headers: dict[str, str | bytes], reason: str) -> None:
    async with serving(ready=lambda: "PostgreSQL: 10.1.2.3") as client:
        response = await client.get("/ready", headers=headers)  # type: ignore[arg-type]
    assert (response.status_code, response.json()) == (503, {"ok": False, "reason": reason})


async def test_every_change_of_readiness_is_logged_once() -> None:
    reasons: list[str | None] = [None, "PostgreSQL: 10.1.2.3", "PostgreSQL: 10.1.2.3", None]
    with capture_logs() as lines:
        async with serving(ready=lambda: reasons.pop(0)) as client:
            for _ in range(4):
                await client.get("/ready")
    changes = [(line["event"], line.get("reason")) for line in lines if line["event"] != "listening"]
    assert changes == [("not_ready", "PostgreSQL: 10.1.2.3"), ("ready", None)]


async def test_metrics_are_those_of_the_service() -> None:
    async with serving() as client:
        response = await client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert "# TYPE gsc_rows_total counter" in response.text
    assert "gsc_calls_total" not in response.text


async def test_errors_of_the_server_are_json() -> None:
    async with serving() as client:
        response = await client.get("/nowhere")
    assert (response.status_code, response.headers["Content-Type"]) == (404, "application/problem+json")
    assert response.json() == {
        "type": "about:blank", "title": "Not Found", "status": 404, "detail": "Not Found", "field": None, "errors": [],
    }  # fmt: skip


async def test_a_bug_is_a_problem_too() -> None:
    async with serving() as client:
        response = await client.get("/broken")
    assert (response.status_code, response.json()["title"]) == (500, "Internal Server Error")


@pytest.mark.parametrize(
    ("headers", "status", "field"),
    [
        ({}, 401, "Authorization"),
        ({"Authorization": "Bearer other"}, 401, "Authorization"),
        ({"Authorization": b"Bearer \xff"}, 401, "Authorization"),
        ({"Authorization": "Bearer sécret".encode()}, 400, "days"),
    ],
)
async def test_the_api_requires_the_bearer_token(headers: dict[str, str | bytes], status: int, field: str) -> None:
    async with serving() as client:
        response = await client.post("/guarded", headers=headers)  # type: ignore[arg-type]
    assert (response.status_code, response.json()["field"]) == (status, field)


async def test_the_api_is_off_without_a_token() -> None:
    async with serving(HttpSettings(http_host="127.0.0.1", http_port=0)) as client:
        response = await client.post("/guarded", headers={"Authorization": "Bearer x"})
    assert response.status_code == 403
    assert "GSC_HTTP_TOKEN" in response.json()["detail"]


async def test_a_port_in_use_is_an_error_that_names_the_variables_and_the_server_can_be_stopped() -> None:
    async with serving() as client:
        taken = HttpSettings(http_host="127.0.0.1", http_port=client.base_url.port or 0)
        server = HttpServer(taken, "sink", not_ready=well)
        with pytest.raises(StartError, match=r"GSC_HTTP_HOST, GSC_HTTP_PORT: cannot listen on 127\.0\.0\.1:"):
            await server.start()
        await server.stop()
        assert (await client.get("/live")).status_code == 200
