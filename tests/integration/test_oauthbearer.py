"""OAUTHBEARER: every Kafka client of the services, on a broker that accepts nothing but tokens of an OpenID Connect
provider."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lab.broker import BrokerOptions, running_broker
from lab.processes import free_port
from lab.scenario import Scenario
from lab.servers import Servers
from pipeline.consumer_group import GroupMember
from pipeline.contracts.records import Record
from pipeline.contracts.topics import BATCHES, SYNC_REQUESTS
from pipeline.errors import PipelineError
from pipeline.group_config import GroupConfig
from pipeline.kafka_admin import check_reachable, create_topics
from pipeline.offsets import AssignedPartition
from pipeline.publisher import open_publisher
from pipeline.settings import KafkaSettings, kafka_variable
from producer.faust_app import build_app
from producer.oidc_tokens import OidcTokens, oidc_client
from support.oidc import AUDIENCE, Issuer, running_issuer
from support.pipeline import running_pipeline, simulator_settings
from support.wait import until

pytestmark = pytest.mark.xdist_group("oauthbearer")
PREFIX = "oauth"
OAUTH = "org.apache.kafka.common.security.oauthbearer"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    # Short-lived, so that clients renew their tokens while the tests run.
    with running_issuer(lifetime_s=10) as running:
        yield running


@pytest.fixture(scope="module")
def kafka(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The configuration of a client on the listener that requires tokens."""
    address = f"127.0.0.1:{free_port()}"
    options = BrokerOptions(
        tmp_path_factory.mktemp("kafka"),
        properties={
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,OAUTH:SASL_PLAINTEXT",
            "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.oauth.oauthbearer.sasl.jaas.config": f"{OAUTH}.OAuthBearerLoginModule required;",
            "listener.name.oauth.oauthbearer.sasl.server.callback.handler.class": (
                f"{OAUTH}.OAuthBearerValidatorCallbackHandler"
            ),
            "listener.name.oauth.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": f"{issuer.url}/jwks",
            "listener.name.oauth.oauthbearer.sasl.oauthbearer.expected.audience": AUDIENCE,
            "listener.name.oauth.oauthbearer.sasl.oauthbearer.expected.issuer": issuer.url,
        },
        listeners={"OAUTH": address},
        jvm=(f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={issuer.url}/jwks",),
    )
    with running_broker(options):
        yield {**issuer.client, "bootstrap.servers": address}


class RecordedBatches:
    """A handler that keeps its records."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def assigned(self, partitions: Sequence[AssignedPartition]) -> None:
        """Nothing."""

    async def revoked(self, partitions: Sequence[int]) -> None:
        """Nothing."""

    def lost(self, partitions: Sequence[int]) -> None:
        """Nothing."""

    async def receive(self, records: Sequence[Record]) -> None:
        self.records += records

    def wants_more(self) -> bool:
        return True


async def test_fetcher_and_sink_publish_and_consume(kafka: dict[str, str], issuer: Issuer) -> None:
    await create_topics(kafka, PREFIX)
    handler, stop = RecordedBatches(), asyncio.Event()
    member = GroupMember(kafka, GroupConfig(f"{PREFIX}.fetcher", BATCHES.full_name(PREFIX), 6.0))
    running = asyncio.create_task(member.run(stop, handler))
    async with open_publisher(kafka, "test") as publisher:
        await publisher.publish(BATCHES.full_name(PREFIX), "key", b"before")
        await until(lambda: len(handler.records) == 1, 60, "the first batch")
        issued = len(issuer.scopes)
        await until(lambda: len(issuer.scopes) > issued, 60, "new tokens")
        await publisher.publish(BATCHES.full_name(PREFIX), "key", b"after")
        await until(lambda: len(handler.records) == 2, 60, "a batch after new tokens")
    stop.set()
    await running
    assert set(issuer.scopes) == {"kafka.write"}


async def test_the_producers_intake_consumes(kafka: dict[str, str]) -> None:
    await create_topics(kafka, PREFIX)
    received: list[bytes | None] = []

    async def process(record: Record) -> None:
        received.append(record.value)

    topic = SYNC_REQUESTS.full_name(PREFIX)
    app = build_app(KafkaSettings(kafka=kafka, topic_prefix=PREFIX), topic, process)
    await app.start()
    try:
        async with open_publisher(kafka, "test") as publisher:
            await publisher.publish(topic, "key", b"request")
        await until(lambda: len(received) > 0, 60, "the request")
    finally:
        await app.stop()
    assert received == [b"request"]


async def test_the_services_work_with_tokens(
    kafka: dict[str, str], servers: Servers, dsn: str, topic_prefix: str, folder: Path
) -> None:
    settings = {kafka_variable(name): value for name, value in kafka.items()}
    world = simulator_settings(Scenario(properties=1, full_days=False))
    secured = Servers(kafka["bootstrap.servers"], servers.dsn)
    with running_pipeline(secured, dsn, topic_prefix, folder, world, **settings) as running:
        run = await running.request_sync(3)
        assert set(await running.finished(run)) == {"applied"}


async def test_a_wrong_secret_is_refused(kafka: dict[str, str]) -> None:
    wrong = {**kafka, "sasl.oauthbearer.client.secret": "another"}
    with pytest.raises(PipelineError, match="invalid_client"):
        await check_reachable(wrong)
    with pytest.raises(ConnectionError, match="401"):
        await OidcTokens(oidc_client(wrong)).token()


async def test_a_token_is_kept_for_most_of_its_life(tmp_path: Path) -> None:
    with running_issuer(lifetime_s=3600) as issuer:
        tokens = OidcTokens(oidc_client(issuer.client))
        assert await tokens.token() == await tokens.token()
        assert len(issuer.scopes) == 1
    with running_issuer(lifetime_s=0) as issuer:
        tokens = OidcTokens(oidc_client(issuer.client))
        await tokens.token()
        await tokens.token()
        assert len(issuer.scopes) == 2
