"""Tables, values as text, and JSON, as commands print them."""

from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from cli.output import build_table, print_json, print_table
from cli.text import duration_text, plain

URL = "sc-domain:" + "x" * 30 + ".example"
REASON = "the account has lost its permission, and nobody has given it back since"


def printed(width: int, **options: object) -> str:
    console = Console(width=width, record=True, file=StringIO(), **options)  # type: ignore[arg-type]
    table = build_table("Halts", ("property", "state", "reason"), [(URL, "HALTED", REASON)], width=width)
    console.print(table)
    return console.export_text(styles=bool(options))


def test_without_rows_a_table_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Halts", ("scope",), [], empty="Nothing is halted.")
    assert capsys.readouterr().out == "Nothing is halted.\n"


def test_off_a_terminal_a_table_is_plain_and_as_wide_as_it_must_be(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Halts", ("property", "reason"), [(URL * 10, REASON * 10)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert URL * 10 in lines[2]
    assert REASON * 10 in lines[2]
    assert all(character.isascii() for line in lines for character in line)


def test_on_a_terminal_the_other_columns_are_folded_and_identifiers_are_not() -> None:
    text = printed(80)
    assert URL in text
    assert max(map(len, text.splitlines())) <= 80
    assert "".join(REASON.split()) in "".join(text.replace(URL, "").replace("HALTED", "").split())


def test_the_position_of_a_dead_letter_stays_on_one_line() -> None:
    console = Console(width=32, record=True, file=StringIO())
    console.print(build_table("Dead letters", ("position", "error"), [("11:123456789012345", REASON)], width=32))
    assert "11:123456789012345" in console.export_text()


def test_an_identifier_that_is_wider_than_the_terminal_is_folded_and_never_cut() -> None:
    text = printed(30)
    assert max(map(len, text.splitlines())) <= 30
    assert sum(text.count(character) for character in "x") >= 30
    assert "…" not in text


def test_states_have_a_colour_on_a_terminal_only() -> None:
    assert "\x1b[31mHALTED" in printed(80, force_terminal=True, color_system="standard", no_color=False)
    assert "\x1b[31m" not in printed(80)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (12345, "12,345"),
        ({"dead": 2, "applied": 60}, "60 applied, 2 dead"),
        ({}, "none"),
        (datetime(2026, 3, 1, 12, tzinfo=UTC), "2026-03-01T12:00:00Z"),
        (date(2026, 3, 1), "2026-03-01"),
        (["a", "b"], "a, b"),
    ],
)
def test_no_value_is_shown_as_python_writes_it(value: object, text: str) -> None:
    assert plain(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "unknown"), (0, "0 s"), (59, "59 s"), (60, "1 min"), (3720, "1 h 2 min"), (90000, "1 d 1 h")],
)
def test_durations_have_two_units(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text


def test_times_in_json_are_rfc_3339(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"at": datetime(2026, 3, 1, 12, tzinfo=UTC), "place": Path("/x")})
    assert capsys.readouterr().out == '{"at":"2026-03-01T12:00:00Z","place":"/x"}\n'
