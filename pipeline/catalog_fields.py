"""What the models of the catalog are built from. Pure."""

from collections.abc import Hashable, Iterable, Iterator
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)


class Strict(BaseModel):
    """A model that refuses unknown fields. The docstrings of its fields are in the JSON Schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def repeated(items: Iterable[H]) -> Iterator[tuple[int, H]]:
    """Yield each item that equals an earlier one, with its index."""
    seen: set[H] = set()
    for index, item in enumerate(items):
        if item in seen:
            yield index, item
        seen.add(item)


def _check_not_empty(items: tuple[T, ...]) -> tuple[T, ...]:
    # `Field(min_length=1)` counts valid items only, and so reports a list whose only item is wrong a second time.
    if not items:
        raise ValueError("must not be empty")
    return items


def _check_unique(items: tuple[H, ...]) -> tuple[H, ...]:
    for _, item in repeated(items):
        raise ValueError(f"{item!r} is repeated")
    return items


NotEmpty = AfterValidator(_check_not_empty)
Unique = AfterValidator(_check_unique)
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
