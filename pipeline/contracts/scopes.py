"""Halt scopes: `all`, `credential:ID`, `property:URL`, `run:ID`."""

from pipeline.contracts.messages import Batch
from pipeline.errors import Invalid

ALL = "all"
KINDS = ("credential", "property", "run")


def parse_scope(text: str) -> str:
    """The scope, unchanged, or Invalid that names the known ones."""
    if is_scope(text):
        return text
    raise Invalid(f"unknown scope {text!r}; known: all, credential:ID, property:URL, run:ID", field="scope")


def is_scope(text: str) -> bool:
    """Whether it is spelt like a scope."""
    kind, colon, rest = text.partition(":")
    return text == ALL or bool(kind in KINDS and colon and rest)


def scopes_of(batch: Batch) -> tuple[str, ...]:
    """Every scope that a batch lies in, the widest first."""
    return (ALL, f"credential:{batch.credential}", f"property:{batch.property}", f"run:{batch.run_id}")
