"""Every example must decode for ever; the schemas are those of the code."""

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from pipeline.contracts import codec
from pipeline.contracts.codec import TYPES
from pipeline.contracts.messages import Batch, Control, Message, SyncRequest
from pipeline.errors import Invalid

EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.json"))


def type_of(path: Path) -> str:
    return path.name.partition("-")[0]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_decodes_and_keeps_its_meaning(path: Path) -> None:
    message = codec.decode(TYPES[type_of(path)], path.read_bytes())
    again = json.loads(codec.encode(message))  # type: ignore[arg-type]
    assert {name: again[name] for name in json.loads(path.read_bytes())} == json.loads(path.read_bytes())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid_against_the_schema(path: Path) -> None:
    schema = json.loads(files("pipeline.contracts").joinpath("schemas", f"{type_of(path)}.json").read_text())
    errors = jsonschema.Draft202012Validator(schema).iter_errors(json.loads(path.read_bytes()))
    assert [error.message for error in errors] == []


@pytest.mark.parametrize("name", TYPES)
def test_the_committed_schema_matches_the_code(name: str) -> None:
    committed = json.loads(files("pipeline.contracts").joinpath("schemas", f"{name}.json").read_text())
    assert committed == json.loads(json.dumps(codec.schema(TYPES[name])))


def test_every_type_has_an_example() -> None:
    assert {type_of(path) for path in EXAMPLES} == set(TYPES)


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
    ],
)
def test_an_unreadable_message_is_invalid_with_a_reason(change: dict[str, object], reason: str) -> None:
    example = json.loads((Path(__file__).parent / "examples/batch-v1-first-page.json").read_bytes())
    with pytest.raises(Invalid) as caught:
        codec.decode(Batch, json.dumps({**example, **change}).encode())
    assert reason in str(caught.value)


NESTED = b'{"type": "batch", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
SURROGATE = rb'{"type": "batch", "property": "\ud800"}'


@pytest.mark.parametrize("data", [None, b"", b"\xff\xfe", b"{", b"[]", b"null", b'"x"', NESTED, SURROGATE])
@pytest.mark.parametrize("expected", [SyncRequest, Batch, Control])
def test_poison_is_invalid(expected: type[Message], data: bytes | None) -> None:
    with pytest.raises(Invalid):
        codec.decode(expected, data)


@pytest.mark.parametrize(
    ("file", "field"),
    [
        ("sync-v1-all", "requested_at"),
        ("rows-v1-empty", "fetched_at"),
        ("outcome-v1-dead", "at"),
        ("control-v1-halted", "at"),
        ("control-v1-budget", "until"),
    ],
)
@pytest.mark.parametrize("time", ["2027-01-01T00:00:00", "tomorrow", 7])
def test_a_time_without_an_offset_is_refused(file: str, field: str, time: object) -> None:
    example = json.loads((Path(__file__).parent / f"examples/{file}.json").read_bytes())
    with pytest.raises(Invalid, match=rf"\$\.{field}"):
        codec.decode(TYPES[file.partition("-")[0]], json.dumps({**example, field: time}).encode())


def test_unknown_fields_are_ignored() -> None:
    example = json.loads((Path(__file__).parent / "examples/control-v1-running.json").read_bytes())
    assert codec.decode(Control, json.dumps({**example, "later": [1]}).encode()).scope == "all"
