"""The planner's settings."""

from typing import Annotated

from pydantic import Field

from pipeline.settings import CatalogSettings, DeadLetterSettings, HttpSettings, KafkaSettings, PostgresSettings


class ProducerSettings(KafkaSettings, PostgresSettings, CatalogSettings, HttpSettings, DeadLetterSettings):
    """Environment variables of the same names in capitals, after `GSC_`."""

    max_queue_size: Annotated[int, Field(ge=1)] = 1000
    """Batches that the fetchers may be behind before publishing pauses; it goes on at half."""
