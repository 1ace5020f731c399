"""Messages: every example must decode in every later release, and the schemas equal the code."""

import json
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import pytest
from msgspec import Meta, Struct

from pipeline.contracts import codec
from pipeline.contracts.__main__ import MESSAGES, write_schemas
from pipeline.contracts.messages import Batch, Control, Message, PageOutcome, Rows, SyncRequest
from pipeline.errors import Invalid

FOLDER = Path(__file__).parent / "examples"
EXAMPLES = sorted(FOLDER.glob("*.json"))


def type_of(path: Path) -> str:
    """The tag of an example's message."""
    return path.name.partition("-")[0]


def example(name: str, **changes: object) -> bytes:
    """An example with some of its fields changed."""
    return json.dumps({**json.loads((FOLDER / f"{name}.json").read_bytes()), **changes}).encode()


def fields_of(encoded: dict[str, Any], written: dict[str, Any]) -> dict[str, Any]:
    """The fields that an example has, also of the batch in it. Fields with a default may have been added since."""
    return {
        name: fields_of(encoded[name], value) if isinstance(value, dict) else encoded[name]
        for name, value in written.items()
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_decodes_and_encodes_to_the_same_fields(path: Path) -> None:
    message = codec.decode(MESSAGES[type_of(path)], path.read_bytes())
    encoded = json.loads(codec.encode(message))  # type: ignore[arg-type]
    written = json.loads(path.read_bytes())
    assert fields_of(encoded, written) == written


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid_by_the_schema(path: Path) -> None:
    schema = json.loads(files("pipeline.contracts").joinpath("schemas", f"{type_of(path)}.json").read_text())
    errors = jsonschema.Draft202012Validator(schema).iter_errors(json.loads(path.read_bytes()))
    assert [error.message for error in errors] == []


@pytest.mark.parametrize("name", MESSAGES)
def test_the_schema_equals_the_code(name: str, tmp_path: Path) -> None:
    committed = files("pipeline.contracts").joinpath("schemas", f"{name}.json").read_text()
    write_schemas(tmp_path)
    assert committed == (tmp_path / f"{name}.json").read_text(), "run `python -m pipeline.contracts FOLDER`"


def test_every_message_class_has_an_example() -> None:
    assert {type_of(path) for path in EXAMPLES} == set(MESSAGES)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"v": 2}, "unknown version 2 of 'batch'; this release reads [1]"),
        ({"v": "1"}, "unknown version '1'"),
        ({"type": "rows"}, "Invalid value 'rows' - at `$.type`"),
        ({"start_row": "0"}, "Expected `int`, got `str` - at `$.start_row`"),
        ({"start_row": -1}, "at `$.start_row`"),
        ({"date": "yesterday"}, "at `$.date`"),
        ({"search_type": "books"}, "at `$.search_type`"),
        ({"property": ""}, "at `$.property`"),
        ({"run_id": "a\x00b"}, "at `$.run_id`"),
        ({"batch_id": "zz"}, "at `$.batch_id`"),
        ({"date": "9999-12-31"}, "date: the year 9999 is not from 2000 to 2199"),
        ({"date": "0001-01-01"}, "date: the year 1 is not from 2000 to 2199"),
        ({"generation": 2**63}, "at `$.generation`"),
        ({"v": None}, "Expected `int`, got `null`"),
    ],
)
def test_a_wrong_field_is_invalid_with_its_path(change: dict[str, object], reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        codec.decode(Batch, example("batch-v1-first-page", **change))
    assert reason in str(caught.value)


NESTED = b'{"type": "batch", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
SURROGATE = rb'{"type": "batch", "property": "\ud800"}'


@pytest.mark.parametrize("data", [None, b"", b"\xff\xfe", b"{", b"[]", b"null", b'"x"', NESTED, SURROGATE])
@pytest.mark.parametrize("expected", [SyncRequest, Batch, Control])
def test_input_that_is_not_a_message_is_invalid(expected: type[Message], data: bytes | None) -> None:
    with pytest.raises(Invalid):
        codec.decode(expected, data)


@pytest.mark.parametrize(
    ("file", "field"),
    [
        ("sync-v1-all", "requested_at"),
        ("rows-v1-empty", "fetched_at"),
        ("outcome-v1-dead", "at"),
        ("unchanged-v1-full-page", "fetched_at"),
        ("control-v1-halted", "at"),
        ("control-v1-budget", "until"),
    ],
)
@pytest.mark.parametrize("time", ["2027-01-01T00:00:00", "tomorrow", 7])
def test_a_time_without_an_offset_is_refused(file: str, field: str, time: object) -> None:
    with pytest.raises(Invalid, match=rf"\$\.{field}"):
        codec.decode(MESSAGES[file.partition("-")[0]], example(file, **{field: time}))


def test_unknown_fields_are_ignored() -> None:
    assert codec.decode(Control, example("control-v1-running", added_later=[1])).scope == "all"


def test_a_message_without_a_version_has_version_1() -> None:
    fields = json.loads(example("control-v1-running"))
    del fields["v"]
    assert codec.decode(Control, json.dumps(fields).encode()).version == 1
    with pytest.raises(Invalid, match=r"Expected `str`, got `int` - at `\$\.scope`"):
        codec.decode(Control, json.dumps({**fields, "scope": 1}).encode())


def test_a_base_has_few_pages() -> None:
    codec.decode(Batch, example("batch-v1-base", base={"generation": 4, "digests": ["0" * 32] * 10}))
    with pytest.raises(Invalid, match=r"length <= 10 - at `\$\.base\.digests`"):
        codec.decode(Batch, example("batch-v1-base", base={"generation": 4, "digests": ["0" * 32] * 11}))


def test_a_result_is_rows_or_an_outcome() -> None:
    assert isinstance(codec.decode_result(example("rows-v1-empty")), Rows)
    assert isinstance(codec.decode_result(example("outcome-v1-dead")), PageOutcome)
    with pytest.raises(Invalid, match="Invalid value 'batch'"):
        codec.decode_result(example("batch-v1-first-page"))


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"scope": 7}, "scope", "must be text, got a whole number"),
        ({"unknown": 7}, "unknown", "unknown field; known: scope, number, day"),
        ({}, "scope", "missing"),
        ({"scope": "all", "nmuber": 1}, "nmuber", "unknown field; did you mean 'number'?"),
        ({"scope": "all", "number": 0}, "number", "must be a whole number of at least 1"),
        ({"scope": "all", "day": "x"}, "day", "must be a date, YYYY-MM-DD"),
    ],
)
def test_a_wrong_field_of_a_request_is_named(fields: dict[str, object], field: str, reason: str) -> None:
    class Request(Struct, forbid_unknown_fields=True):
        scope: str
        number: Annotated[int, Meta(ge=1)] = 1
        day: date | None = None

    for form in (fields, json.dumps(fields).encode()):
        with pytest.raises(Invalid) as caught:
            codec.parse_fields(Request, form)
        assert (caught.value.field, caught.value.reason) == (field, reason)
    with pytest.raises(Invalid, match=r"body: not JSON"):
        codec.parse_fields(Request, b"{x")
    assert codec.parse_fields(Request, {"scope": "all"}).scope == "all"
