"""What a service needs before it starts: Kafka with its topics, PostgreSQL with its schema, valid client settings."""

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from pipeline.consumer_group import GroupConfig, member_configuration
from pipeline.errors import PipelineError
from pipeline.kafka import admin_configuration, publisher_configuration
from pipeline.kafka_admin import check_reachable, check_topics
from pipeline.postgres import connection
from pipeline.process import StartError
from pipeline.schema import missing_migrations
from pipeline.settings import KafkaSettings, PostgresSettings, kafka_variable

_SECRET = ("password", "secret", ".pem", "oauthbearer")

# Of clients that are never used; what they warn of, those that are used will, too.
_silent = logging.getLogger("librdkafka.checking")
_silent.setLevel(logging.CRITICAL)


def kafka_settings_problems(configuration: Mapping[str, str], session_timeout_s: float) -> list[str]:
    """A line for each setting that a member of a group, a publisher or an admin client refuses."""
    left = {name: value for name, value in configuration.items() if name != "bootstrap.servers"}  # connects to nobody
    problems: list[str] = []
    while refusal := _refusal(left, session_timeout_s):
        name = _culprit(left, session_timeout_s, refusal)
        if name is None:
            return [*problems, f"GSC_KAFKA_<NAME>: {refusal}"]
        problems.append(f"{kafka_variable(name)}: {refusal}, got {_shown(name, left.pop(name))}")
    return problems


def _refusal(configuration: Mapping[str, str], session_timeout_s: float) -> str | None:
    group = GroupConfig("gsc-check", "gsc-check", session_timeout_s)
    quiet: dict[str, Any] = {"logger": _silent}
    try:
        Consumer({**member_configuration(configuration, group), **quiet}).close()
        Producer({**publisher_configuration(configuration, "gsc-check"), **quiet})
        AdminClient({**admin_configuration(configuration), **quiet})
    except KafkaException as error:
        return " ".join(error.args[0].str().split())
    except (AttributeError, TypeError, ValueError) as error:  # of the Python around it
        return str(error)
    return None


def _culprit(configuration: Mapping[str, str], session_timeout_s: float, refusal: str) -> str | None:
    """The setting without which there is no such refusal: librdkafka names it by another name, or not at all."""
    for name in sorted(configuration, key=lambda name: name not in refusal):
        others = {other: value for other, value in configuration.items() if other != name}
        if _refusal(others, session_timeout_s) != refusal:
            return name
    return None


def _shown(name: str, value: str) -> str:
    return "***" if any(word in name for word in _SECRET) else repr(value)


async def require_kafka(settings: KafkaSettings) -> None:
    """Raise StartError when librdkafka refuses its settings, or no broker answers."""
    if refused := kafka_settings_problems(settings.kafka, settings.session_timeout_s):
        raise StartError("\n".join(refused))
    try:
        await check_reachable(settings.kafka)
    except PipelineError as error:
        raise StartError(str(error)) from error


async def require_topics(settings: KafkaSettings) -> None:
    """Raise StartError when Kafka cannot be reached, or lacks topics."""
    await require_kafka(settings)
    try:
        problems = await check_topics(settings.kafka, settings.topic_prefix)
    except PipelineError as error:
        raise StartError(str(error)) from error
    if missing := [problem for problem in problems if "missing" in problem]:
        raise StartError("\n".join(missing))


async def require_schema(settings: PostgresSettings, application: str) -> None:
    """Raise StartError when PostgreSQL cannot be reached, or lacks migrations."""
    try:
        async with connection(settings.postgres_dsn.get_secret_value(), application=application) as conn:
            missing = await missing_migrations(conn)
    except PipelineError as error:
        raise StartError(str(error)) from error
    if missing:
        raise StartError(f"PostgreSQL: migrations are missing: {', '.join(missing)}; run `gsc-stream migrate`")
