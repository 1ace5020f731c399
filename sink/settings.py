"""The sink's settings."""

from typing import Annotated

from pydantic import Field

from pipeline.settings import DeadLetterSettings, HttpSettings, KafkaSettings, PostgresSettings


class SinkSettings(KafkaSettings, PostgresSettings, HttpSettings, DeadLetterSettings):
    """Environment variables: the names in upper case, after `GSC_`."""

    delete_ratio: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Largest share of a day's rows that may be deleted because a newer fetch no longer has them. More are kept, and
    logged."""
    sink_batch_bytes: Annotated[int, Field(ge=1, le=1_000_000_000)] = 8_000_000
    sink_linger_ms: Annotated[int, Field(ge=0, le=60_000)] = 100
    """How long a part of a page waits for the rest before it is stored apart."""
