"""Every error of psycopg and of librdkafka is one of `pipeline.errors`, on purpose."""

import inspect
import re
from collections.abc import Iterator

import psycopg
import pytest
from confluent_kafka import KafkaError

from pipeline.errors import Fatal, Invalid, PipelineError, Retryable, TooSlow
from pipeline.kafka import as_pipeline_error
from pipeline.postgres import database_errors

RETRYABLE_STATES = {
    "40P01", "40001", "55P03", "57014", "57P05", "25P03", "25P04", "57P01", "57P02", "57P03", "53300", "53100", "23505",
    "08000", "08001", "08003", "08004", "08006", "08007", "08P01",
}  # fmt: skip
"""Deadlock, serialization, lock, limits of time, shutdown, start-up, connections, full disk, a row inserted twice, and
class 08."""
STATEMENT_LIMIT = "57014"
FATAL_CODES = {
    "_FATAL", "_AUTHENTICATION", "TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
}  # fmt: skip
INVALID_CODES = {"_INVALID_ARG", "_UNKNOWN_PROTOCOL", "MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"}


def postgres_errors() -> Iterator[type[psycopg.Error]]:
    for _, class_ in inspect.getmembers(psycopg.errors, inspect.isclass):
        if issubclass(class_, psycopg.Error) and class_.sqlstate:
            yield class_


async def mapped(error: psycopg.Error) -> type[PipelineError]:
    with pytest.raises(PipelineError) as caught:
        async with database_errors():
            raise error
    return caught.type


async def test_every_error_of_postgresql_is_mapped() -> None:
    for class_ in postgres_errors():
        expected: type[PipelineError] = Invalid if issubclass(class_, psycopg.DataError) else Fatal
        if class_.sqlstate in RETRYABLE_STATES:
            expected = TooSlow if class_.sqlstate == STATEMENT_LIMIT else Retryable
        assert await mapped(class_("text")) is expected, class_


async def test_every_retryable_state_exists() -> None:
    assert {class_.sqlstate for class_ in postgres_errors()} >= RETRYABLE_STATES


async def test_a_lost_connection_is_retryable_and_a_bug_is_fatal() -> None:
    assert await mapped(psycopg.OperationalError("server closed the connection")) is Retryable
    assert await mapped(psycopg.InterfaceError("cursor is closed")) is Fatal


def kafka_codes() -> list[str]:
    return [name for name in dir(KafkaError) if re.fullmatch("_?[A-Z][A-Z_]*", name)]


@pytest.mark.parametrize("name", kafka_codes())
def test_every_error_of_librdkafka_is_mapped(name: str) -> None:
    expected = Fatal if name in FATAL_CODES else Invalid if name in INVALID_CODES else Retryable
    assert type(as_pipeline_error(KafkaError(getattr(KafkaError, name)), "topic")) is expected


def test_a_fatal_client_error_is_fatal_whatever_its_code() -> None:
    error = KafkaError(KafkaError._STATE, "fenced", True)
    assert type(as_pipeline_error(error, "topic")) is Fatal
