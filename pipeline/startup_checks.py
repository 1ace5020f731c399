"""What a service needs before it starts: Kafka with its topics, PostgreSQL with its schema, valid client settings."""

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from pipeline.errors import PipelineError
from pipeline.group_config import GroupConfig, member_configuration
from pipeline.kafka import admin_configuration, publisher_configuration
from pipeline.kafka_admin import check_reachable, check_topics
from pipeline.postgres import connection, is_pooled, sessions_are_shared
from pipeline.process import StartError
from pipeline.schema import missing_migrations
from pipeline.settings import KafkaSettings, PostgresSettings, is_secret, kafka_variable

POOLED = (
    "PostgreSQL: the connection pooler hands out sessions by transaction, but advisory locks, prepared statements and"
    " temporary tables need a session for each connection; set `pool_mode = session` in PgBouncer, or connect to the"
    " server directly"
)

# The log of clients that are never used. Clients that are used will log the same warnings.
_silent = logging.getLogger("librdkafka.checking")
_silent.setLevel(logging.CRITICAL)


def kafka_settings_problem(configuration: Mapping[str, str], session_timeout_s: float) -> str | None:
    """Return why librdkafka refuses the settings of a group member, a publisher or an admin client, or None.

    librdkafka reports the first problem only, and names most settings.
    """
    offline = {name: value for name, value in configuration.items() if name != "bootstrap.servers"}
    group = GroupConfig("gsc-check", "gsc-check", session_timeout_s)
    quiet: dict[str, Any] = {"logger": _silent}
    try:
        Consumer({**member_configuration(offline, group), **quiet}).close()
        Producer({**publisher_configuration(offline, "gsc-check"), **quiet})
        AdminClient({**admin_configuration(offline), **quiet})
    except KafkaException as error:
        return _problem(" ".join(error.args[0].str().split()), offline)
    except (AttributeError, TypeError, ValueError) as error:  # from confluent_kafka
        return f"GSC_KAFKA_<NAME>: {error}"
    return None


def _problem(message: str, configuration: Mapping[str, str]) -> str:
    name = max((name for name in configuration if name in message), key=len, default="")
    for secret, value in configuration.items():
        if is_secret(secret) and value:
            message = message.replace(value, "***")
    return f"{kafka_variable(name) if name else 'GSC_KAFKA_<NAME>'}: {message}"


async def require_kafka(settings: KafkaSettings) -> None:
    """Raise StartError when librdkafka refuses its settings or no broker answers."""
    if problem := kafka_settings_problem(settings.kafka, settings.session_timeout_s):
        raise StartError(problem)
    try:
        await check_reachable(settings.kafka)
    except PipelineError as error:
        raise StartError(str(error)) from error


async def require_topics(settings: KafkaSettings) -> None:
    """Raise StartError when Kafka cannot be reached or topics are missing."""
    await require_kafka(settings)
    try:
        problems = await check_topics(settings.kafka, settings.topic_prefix)
    except PipelineError as error:
        raise StartError(str(error)) from error
    if missing := [problem for problem in problems if "missing" in problem]:
        raise StartError("\n".join(missing))


async def require_schema(settings: PostgresSettings, application: str) -> None:
    """Raise StartError when PostgreSQL cannot be reached, migrations are missing, or a pooler shares its sessions."""
    try:
        async with connection(settings.postgres_dsn.get_secret_value(), application=application) as conn:
            missing = await missing_migrations(conn)
            if await is_pooled(conn) and await sessions_are_shared(settings.postgres_dsn.get_secret_value(), conn):
                raise StartError(POOLED)
    except PipelineError as error:
        raise StartError(str(error)) from error
    if missing:
        raise StartError(f"PostgreSQL: migrations are missing: {', '.join(missing)}; run `gsc-stream migrate`")
