"""Settings from environment variables with the prefix `GSC_`. Each `__main__` reads them once and passes values on.

Every service composes its model from the classes here. `read_settings` reports all wrong or missing variables.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, HttpUrl, SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources.utils import parse_env_vars

S = TypeVar("S", bound="Settings")

PREFIX = "GSC_"
KAFKA_PREFIX = "GSC_KAFKA_"

_http_url = TypeAdapter(HttpUrl)
_SECRET_WORDS = ("password", "secret", ".pem", "oauthbearer")


def address_problem(value: object) -> str | None:
    """Return why a value is not the http(s) address of a host, or None."""
    if not isinstance(value, str):
        return "must be text"
    if any(map(str.isspace, value)):
        return "must not contain blanks"
    try:
        url = _http_url.validate_python(value)
    except ValidationError as error:
        return error.errors()[0]["msg"]
    if not (url.host or "").replace("..", "").strip("."):
        return "must name a host"
    return "has an empty label in its host name" if ".." in (url.host or "") else None


def _check_address(text: str) -> str:
    if problem := address_problem(text):
        raise ValueError(problem)
    return text


QueriesPerMinute = Annotated[int, Field(ge=1, le=10_000_000)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
HttpAddress = Annotated[str, AfterValidator(_check_address)]
"""An address that begins with http:// or https:// and names a host."""


class SettingsError(Exception):
    """What is wrong with the settings, one line per problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(BaseSettings):
    """The base of every service's settings. The field `max_in_flight` is the variable `GSC_MAX_IN_FLIGHT`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix=PREFIX)

    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto`: console on a terminal, otherwise JSON."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use arguments only. The environment is an argument of `read_settings`."""
        return (init_settings,)


class KafkaSettings(Settings):
    """How to reach Kafka."""

    kafka: Annotated[dict[str, str], Field(repr=False)]
    """librdkafka's configuration from `GSC_KAFKA_<NAME>`: `GSC_KAFKA_SASL_USERNAME` is `sasl.username`."""
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "gsc"
    session_timeout_s: Annotated[float, Field(ge=1, le=60, allow_inf_nan=False)] = 10.0
    """Session timeout of a group member, and length of the lease on its partitions. With `group.protocol=classic` this
    sets it; with `consumer` the broker's session timeout applies to the group, and this must not be longer. A broker
    allows at most a minute by default, and Faust's client not much more whatever the broker allows."""


class QuotaSettings(Settings):
    """Google's quotas in queries a minute, and the share of them that is used."""

    site_qpm: QueriesPerMinute = 1200
    user_qpm: QueriesPerMinute = 1200
    project_qpm: QueriesPerMinute = 40_000
    quota_headroom: Annotated[float, Field(gt=0, le=1)] = 0.8


class DeadLetterSettings(Settings):
    """When a service that dead-letters messages stops: see `dead_letter_limit`."""

    dead_letter_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Dead letters of a partition among its last `limit / ratio` messages."""
    dead_letter_ratio: Annotated[float, Field(ge=0.001, le=1)] = 0.5


class PostgresSettings(Settings):
    """How to reach PostgreSQL."""

    postgres_dsn: SecretStr


class CatalogSettings(Settings):
    """Where the catalog is."""

    catalog: Path


class HttpSettings(Settings):
    """The HTTP server: /live, /ready, /metrics, and the producer's API."""

    http_host: str = "0.0.0.0"  # noqa: S104 - probes and scrapes come from outside the pod
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """0 takes a free port and logs it."""
    http_token: SecretStr | None = None
    """Bearer token of the API; without one every request is refused."""


class _Environment(EnvSettingsSource):
    """The given environment, with librdkafka's settings as one field. Empty variables count as missing, because compose
    files and Helm charts set them."""

    def __init__(self, model: type[Settings], environment: Mapping[str, str]) -> None:
        self._environment = environment
        super().__init__(model, env_ignore_empty=True)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return parse_env_vars(self._environment, ignore_empty=True)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if field_name != "kafka":
            return super().get_field_value(field, field_name)
        kafka = kafka_configuration(self._environment)
        return (kafka if "bootstrap.servers" in kafka else None), field_name, False

    def prepare_field_value(self, field_name: str, field: FieldInfo, value: Any, value_is_complex: bool) -> Any:
        return (
            value if field_name == "kafka" else super().prepare_field_value(field_name, field, value, value_is_complex)
        )


def read_settings(model: type[S], environment: Mapping[str, str]) -> S:
    """Return the settings of one model. Raises SettingsError with one line per wrong or missing variable."""
    values = _Environment(model, environment)()
    if problems := _not_utf8(values):
        raise SettingsError(problems)
    try:
        return model(**values)
    except ValidationError as error:
        raise SettingsError([_line(model, problem) for problem in error.errors()]) from error


def kafka_configuration(environment: Mapping[str, str]) -> dict[str, str]:
    """Return librdkafka's configuration: `GSC_KAFKA_SECURITY_PROTOCOL` becomes `security.protocol`."""
    return {
        name.removeprefix(KAFKA_PREFIX).lower().replace("_", "."): value
        for name, value in environment.items()
        if name.startswith(KAFKA_PREFIX) and value
    }


def kafka_variable(name: str) -> str:
    """Return the variable of a librdkafka setting: `GSC_KAFKA_SECURITY_PROTOCOL` for `security.protocol`."""
    return KAFKA_PREFIX + name.upper().replace(".", "_")


def is_secret(kafka_setting: str) -> bool:
    """Return whether the value of a librdkafka setting must never be printed."""
    return any(word in kafka_setting for word in _SECRET_WORDS)


def _not_utf8(values: Mapping[str, Any]) -> list[str]:
    """Python reads other bytes as lone surrogates, which no server takes."""
    variables = {kafka_variable(name): value for name, value in values.get("kafka", {}).items()}
    variables |= {PREFIX + name.upper(): value for name, value in values.items() if isinstance(value, str)}
    return [f"{name}: not UTF-8" for name, value in variables.items() if not value.isascii() and not _encodable(value)]


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _line(model: type[Settings], problem: Any) -> str:
    loc, message = problem["loc"], problem["msg"].removeprefix("Value error, ")
    if not loc:
        return str(message)
    if loc[0] == "kafka":
        variable = kafka_variable(str(loc[1]) if len(loc) > 1 else "bootstrap.servers")
        return f"{variable}: {'missing' if len(loc) == 1 else message}"
    variable = PREFIX + str(loc[0]).upper()
    if problem["type"] == "missing":
        return f"{variable}: missing"
    secret = "SecretStr" in str(model.model_fields[str(loc[0])].annotation)
    return f"{variable}: {message}" if secret else f"{variable}: {message}, got {problem['input']!r}"
