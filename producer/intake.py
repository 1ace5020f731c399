"""Requests in: a Faust agent that writes each to the ledger before its offset is committed."""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import faust

from pipeline.clock import PACIFIC
from pipeline.contracts.records import Record
from pipeline.errors import Invalid
from pipeline.kafka import group_id

Take = Callable[[Record], Awaitable[None]]

SESSION_TIMEOUT_S = 10.0  # Faust's 60 s would leave a killed planner's partition alone for a minute
HEARTBEAT_S = 3.0
_SASL = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def build_app(configuration: Mapping[str, str], prefix: str, topic: str, take: Take) -> faust.App:
    """The app: one agent, one event at a time, no tables. `take` must not return before the request is safe."""
    servers = configuration["bootstrap.servers"].split(",")
    app = faust.App(
        group_id(prefix, "producer"),
        broker=[f"kafka://{server.strip()}" for server in servers],
        broker_credentials=credentials(configuration),
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_commit_interval=0.5,
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,  # no topics of Faust's own
        topic_allow_declare=False,  # ours come from `gsc-stream topics`
        web_enabled=False,  # the HTTP face is the same in every service
        store="memory://",
        # Faust makes folders even without tables; the working directory may be read-only, and is not ours.
        datadir=Path(gettempdir()) / "gsc-stream-faust",
    )
    requests = app.topic(topic, key_serializer="raw", value_serializer="raw")

    @app.agent(requests, concurrency=1, name="intake")
    async def intake(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            await take(
                Record(
                    topic=message.topic,
                    partition=message.partition,
                    offset=message.offset,
                    key=message.key,
                    value=message.value,
                    timestamp_ms=round((message.timestamp or 0) * 1000),
                )
            )

    return app


def at_times(app: faust.App, cron: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` at the times of a cron line, in Pacific time: Search Console's days end there."""

    @app.crontab(cron, timezone=PACIFIC)
    async def timer() -> None:
        await work()


def credentials(configuration: Mapping[str, str]) -> Any:
    """librdkafka's security settings as Faust's. Raises Invalid for what Faust cannot do."""
    protocol = configuration.get("security.protocol", "plaintext").upper()
    context = _ssl_context(configuration) if protocol.endswith("SSL") else None
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    mechanism = configuration.get("sasl.mechanism", configuration.get("sasl.mechanisms", ""))
    if mechanism not in _SASL:
        raise Invalid(f"{mechanism!r}: the planner takes {', '.join(_SASL)}", field="GSC_KAFKA_SASL_MECHANISM")
    return faust.SASLCredentials(
        username=configuration.get("sasl.username"),
        password=configuration.get("sasl.password"),
        mechanism=mechanism,
        ssl_context=context,
    )


def _ssl_context(configuration: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.get("ssl.ca.location"))
    if configuration.get("ssl.endpoint.identification.algorithm") == "none":
        context.check_hostname = False
    if certificate := configuration.get("ssl.certificate.location"):
        key, password = configuration.get("ssl.key.location"), configuration.get("ssl.key.password")
        context.load_cert_chain(certificate, key, password)
    return context
