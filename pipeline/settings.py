"""Settings from environment variables with the prefix `GSC_`.

Each service combines the models of this module into its own. A `__main__` passes its environment to `read_settings`
once and hands the result on; the models themselves never read the environment of the process.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, Field, HttpUrl, SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from pipeline.validation_text import plain_text

S = TypeVar("S", bound="Settings")

PREFIX = "GSC_"
KAFKA_PREFIX = "GSC_KAFKA_"

QueriesPerMinute = Annotated[int, Field(ge=20, le=10_000_000)]
"""Even a tenth of the lowest allows a call, and time for its token, in every minute."""
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]

_SECRET_WORDS = ("password", "secret", ".pem", "oauthbearer")
_HTTP_URL: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl)
# HttpUrl repairs an address as a browser does: it drops blanks and adds slashes. HTTP clients do not.
_HTTP_ADDRESS = re.compile(r"(?i:https?)://[^\s/]\S*")


def address_problem(value: object) -> str | None:
    """Return why a value is not an address that an HTTP client can call, or None if it is one."""
    if not isinstance(value, str) or not _HTTP_ADDRESS.fullmatch(value):
        return "must be a URL that begins with http:// or https://, names a host and has no blanks"
    try:
        url = _HTTP_URL.validate_python(value)
        (url.host or "").encode("idna")  # the resolver encodes the host like this
    except ValidationError as error:
        return plain_text(error.errors()[0])
    except UnicodeError:
        return "the host of the URL has an empty label or one of more than 63 characters"
    return "the port must be from 1 to 65535" if url.port == 0 else None


def _check_address(value: str) -> str:
    if problem := address_problem(value):
        raise ValueError(problem)
    return value


HttpAddress = Annotated[str, AfterValidator(_check_address)]
"""An http or https URL, kept as it is written."""


class SettingsError(Exception):
    """The settings are missing or wrong. `problems` has one line for each variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(BaseSettings):
    """The base of all settings. The variable of a field is its name in capitals after the prefix:
    `GSC_MAX_IN_FLIGHT` sets `max_in_flight`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix=PREFIX)

    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto` is `console` on a terminal and `json` elsewhere."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take fields from arguments only. `read_settings` reads the environment that it is given."""
        return (init_settings,)


class KafkaSettings(Settings):
    """The connection to Kafka."""

    kafka: Annotated[dict[str, str], Field(repr=False)]
    """librdkafka's configuration. `GSC_KAFKA_SASL_USERNAME` sets `sasl.username`."""
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "gsc"
    session_timeout_s: Annotated[float, Field(ge=1, le=60, allow_inf_nan=False)] = 10.0
    """Seconds without a heartbeat after which the broker removes a member from its consumer group, and the length of a
    member's lease on its partitions. With `group.protocol=consumer` the broker has its own session timeout for the
    group, which must not be shorter. The upper bound is the default of a broker's
    `group.consumer.max.session.timeout.ms`, and near the longest that Faust's client supports."""


class QuotaSettings(Settings):
    """Google's quotas in queries a minute, and the share of them that the fetchers use."""

    site_qpm: QueriesPerMinute = 1200
    user_qpm: QueriesPerMinute = 1200
    project_qpm: QueriesPerMinute = 40_000
    quota_headroom: Annotated[float, Field(ge=0.1, le=1)] = 0.8


class QueueSettings(Settings):
    """The size of the queue between ledger and fetchers."""

    max_queue_size: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """The number of published pages without a result at which publishing pauses. Credentials with pending pages have
    equal shares of it, of at least 10 pages."""


class DeadLetterSettings(Settings):
    """The number of dead letters that stops a service. See `pipeline.dead_letter_limit`."""

    dead_letter_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Dead-lettered messages among the last `dead_letter_limit / dead_letter_ratio` messages of a partition."""
    dead_letter_ratio: Annotated[float, Field(ge=0.001, le=1)] = 0.5


class PostgresSettings(Settings):
    """The connection to PostgreSQL."""

    postgres_dsn: SecretStr
    postgres_timeout_s: Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False)] = 20.0
    """Seconds that a service waits for PostgreSQL before it connects again, and after which PostgreSQL ends a statement
    of a service, or a session that is silent while it holds the leader's lock. Commands of an operator that may
    touch every row have an hour."""


class RetentionSettings(Settings):
    """How long the ledger keeps what nothing needs any more."""

    superseded_days: Annotated[int, Field(ge=1, le=36_500)] = 30
    """Days after which a finished page is deleted from the ledger when a newer generation has completed its day."""


class CatalogSettings(Settings):
    """The path of the catalog file."""

    catalog: Path


class HttpSettings(Settings):
    """The HTTP server of a service: /live, /ready and /metrics, and in the producer the API."""

    http_host: str = "0.0.0.0"  # noqa: S104 - probes and scrapes come from outside the pod
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """0 takes any free port. The log has its number."""
    http_token: SecretStr | None = None
    """The bearer token of the API. Without one the API refuses every request."""


class _Environment(EnvSettingsSource):
    """Environment variables from a mapping instead of from the process. Empty variables count as missing, because
    compose files and Helm charts set them for values that are not given."""

    def __init__(self, model: type[Settings], environment: Mapping[str, str]) -> None:
        self._environment = environment
        super().__init__(model)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        """Return the variables under lower-case names, which is how the base class looks them up."""
        return {name.lower(): value for name, value in self._environment.items() if value and name.isupper()}

    def prepare_field_value(self, field_name: str, field: FieldInfo, value: Any, value_is_complex: bool) -> Any:
        """Collect the variables `GSC_KAFKA_<NAME>` into the field `kafka`."""
        if field_name != "kafka":
            return super().prepare_field_value(field_name, field, value, value_is_complex)
        kafka = kafka_configuration(self._environment)
        return kafka if "bootstrap.servers" in kafka else None


def read_settings(model: type[S], environment: Mapping[str, str]) -> S:
    """Return the settings of a model from environment variables.

    Raises SettingsError with one line for every variable that is wrong or missing.
    """
    values = _Environment(model, environment)()
    if problems := [f"{name}: not UTF-8" for name in _not_utf8(values)]:
        raise SettingsError(problems)
    try:
        return model(**values)
    except ValidationError as error:
        raise SettingsError([_describe(model, details) for details in error.errors()]) from error


def settings_problems(model: type[Settings], environment: Mapping[str, str]) -> list[str]:
    """Return one line for every variable that is wrong or missing."""
    try:
        read_settings(model, environment)
    except SettingsError as error:
        return list(error.problems)
    return []


def _not_utf8(values: Mapping[str, Any]) -> list[str]:
    """Return the variables with other bytes, which Python reads as lone surrogates and no server accepts."""
    variables = {kafka_variable(name): value for name, value in (values.get("kafka") or {}).items()}
    variables |= {PREFIX + name.upper(): value for name, value in values.items() if isinstance(value, str)}
    return [name for name, value in variables.items() if value.encode(errors="replace").decode() != value]


def kafka_configuration(environment: Mapping[str, str]) -> dict[str, str]:
    """Return librdkafka's configuration: `GSC_KAFKA_SECURITY_PROTOCOL` becomes `security.protocol`."""
    return {
        name.removeprefix(KAFKA_PREFIX).lower().replace("_", "."): value
        for name, value in environment.items()
        if name.startswith(KAFKA_PREFIX) and value
    }


def kafka_variable(name: str) -> str:
    """Return the variable that sets a property of librdkafka: `GSC_KAFKA_SECURITY_PROTOCOL` for `security.protocol`."""
    return KAFKA_PREFIX + name.upper().replace(".", "_")


def is_secret(kafka_setting: str) -> bool:
    """Return whether the value of a librdkafka setting must never be printed."""
    return any(word in kafka_setting for word in _SECRET_WORDS)


def _describe(model: type[Settings], details: ErrorDetails) -> str:
    message = plain_text(details)
    if not details["loc"]:  # raised by a validator of the model, which names the variables itself
        return message
    field = str(details["loc"][0])
    variable = kafka_variable("bootstrap.servers") if field == "kafka" else PREFIX + field.upper()
    if details["type"] == "missing":
        return f"{variable}: missing"
    return f"{variable}: {message}" + ("" if _is_secret(model, field) else f", got {details['input']!r}")


def _is_secret(model: type[Settings], field: str) -> bool:
    annotation = model.model_fields[field].annotation
    return SecretStr in (annotation, *get_args(annotation))
