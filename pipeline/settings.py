"""Settings from environment variables, prefix `GSC_`. Read once, in a `__main__`, and passed on as values.

Each service composes its own model of the pieces here; `read` reports every wrong or missing variable at once.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from pipeline.contracts.text import is_garbled

S = TypeVar("S", bound="Settings")

PREFIX = "GSC_"
KAFKA_PREFIX = "GSC_KAFKA_"

QueriesPerMinute = Annotated[int, Field(ge=1, le=10_000_000)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class SettingsError(Exception):
    """What is wrong with the settings, a line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(BaseModel):
    """The base of every service's settings: field `max_in_flight` is the variable `GSC_MAX_IN_FLIGHT`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto`: console on a terminal, else JSON."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class KafkaSettings(Settings):
    """How to reach Kafka."""

    kafka: Annotated[dict[str, str], Field(repr=False)]
    """librdkafka configuration, from the variables `GSC_KAFKA_<NAME>`: `GSC_KAFKA_SASL_USERNAME` is `sasl.username`."""
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "gsc"
    session_timeout_s: Annotated[float, Field(ge=1, le=60, allow_inf_nan=False)] = 10.0
    """Of a group member: with `group.protocol=classic` ours to choose; with `consumer` the broker's holds for the
    group, and this, the length of our lease on the partitions, must not be more. A broker allows a minute at most, if
    it was not told to allow more; Faust's client not much more, whatever the broker allows."""


class QuotaSettings(Settings):
    """Google's quotas in queries a minute, and the share of them that we use."""

    site_qpm: QueriesPerMinute = 1200
    user_qpm: QueriesPerMinute = 1200
    project_qpm: QueriesPerMinute = 40_000
    quota_headroom: Annotated[float, Field(gt=0, le=1)] = 0.8


class DeadLetterSettings(Settings):
    """When a service that buries messages stops: see `bounding`."""

    dead_letter_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Dead messages of a partition, among its last `limit / ratio`."""
    dead_letter_ratio: Annotated[float, Field(ge=0.001, le=1)] = 0.5


class PostgresSettings(Settings):
    """How to reach PostgreSQL."""

    postgres_dsn: SecretStr


class CatalogSettings(Settings):
    """Where the catalog is."""

    catalog: Path


class HttpSettings(Settings):
    """The HTTP face: /live, /ready, /metrics, and the planner's API."""

    http_host: str = "0.0.0.0"  # noqa: S104 - probes and scrapes come from outside the pod
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """0 takes a free one, told in the log."""
    http_token: SecretStr | None = None
    """Bearer token of POST requests; without one they are refused."""


def read_settings(model: type[S], environment: Mapping[str, str]) -> S:
    """The settings of one model; raises SettingsError with a line for every wrong or missing variable.

    Empty variables count as missing, as compose files and Helm charts write them.
    """
    given = {name: value for name, value in environment.items() if _is_of(model, name)}
    if garbled := [f"{name}: not UTF-8" for name, value in given.items() if is_garbled(value)]:
        raise SettingsError(garbled)
    try:
        return model.model_validate(_fields(model, given))
    except ValidationError as error:
        raise SettingsError([_told(problem) for problem in error.errors()]) from error


def _is_of(model: type[Settings], variable: str) -> bool:
    if variable.startswith(KAFKA_PREFIX):
        return "kafka" in model.model_fields
    return variable.startswith(PREFIX) and variable.removeprefix(PREFIX).lower() in model.model_fields


def _fields(model: type[Settings], environment: Mapping[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: environment[variable] for name in model.model_fields if environment.get(variable := PREFIX + name.upper())
    }
    if "kafka" in model.model_fields:
        kafka = kafka_configuration(environment)
        if "bootstrap.servers" in kafka:
            fields["kafka"] = kafka
    return fields


def misspelt(model: type[Settings], environment: Mapping[str, str]) -> list[str]:
    """A line for each variable that is no setting, but looks like one of the model's.

    Others with the prefix are somebody else's: compose and Kubernetes have variables of their own.
    """
    known = [PREFIX + name.upper() for name in model.model_fields]
    others = [name for name in environment if name not in known and not name.startswith(KAFKA_PREFIX)]
    found = {name: get_close_matches(name, known, 2, 0.8) for name in sorted(others) if name.startswith(PREFIX)}
    return [f"{name} is no setting; {' or '.join(near)}?" for name, near in found.items() if near]


def kafka_configuration(environment: Mapping[str, str]) -> dict[str, str]:
    """librdkafka's configuration: `GSC_KAFKA_SECURITY_PROTOCOL` becomes `security.protocol`."""
    return {
        name.removeprefix(KAFKA_PREFIX).lower().replace("_", "."): value
        for name, value in environment.items()
        if name.startswith(KAFKA_PREFIX) and value
    }


def kafka_variable(name: str) -> str:
    """The variable that sets librdkafka's `name`: `security.protocol` comes from `GSC_KAFKA_SECURITY_PROTOCOL`."""
    return KAFKA_PREFIX + name.upper().replace(".", "_")


def _told(problem: Any) -> str:
    field = str(problem["loc"][0]) if problem["loc"] else "settings"
    variable = "GSC_KAFKA_BOOTSTRAP_SERVERS" if field == "kafka" else PREFIX + field.upper()
    if problem["type"] == "missing":
        return f"{variable}: missing"
    message: str = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    return f"{variable}: {message}, got {problem['input']!r}"
