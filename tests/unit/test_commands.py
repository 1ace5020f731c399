"""What the command line refuses before it reaches anybody."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from cli.__main__ import EXTRAS, main
from cli.commands.dead_letters import dead_letters
from cli.commands.reconcile import reconcile
from cli.commands.replay import replay

SETTINGS = {"GSC_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "GSC_POSTGRES_DSN": "postgresql://127.0.0.1:1/x"}
BARE = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))
from cli.__main__ import main
for command in (["--help"], ["demo", "--days", "3"], ["up", "--help"], ["check"], ["producer"], ["fetcher"]):
    try:
        main(command, prog_name="gsc-stream")
    except SystemExit as ended:
        print(f"= {ended.code}")
"""


def test_without_the_extras_all_commands_are_listed_and_say_what_they_lack() -> None:
    argv = [sys.executable, "-c", BARE, ",".join(EXTRAS)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    listed, *ends = done.stdout.split("= ")
    assert all(f"\n  {name} " in listed for name in main.list_commands(click.Context(main)))
    assert [end.strip() for end in ends] == ["0", "2", "2", "2", "2", "2"]
    said = [(line.partition(":")[0], line.partition("gsc-stream[")[2]) for line in done.stderr.splitlines()]
    wanted = {"demo": "lab", "up": "lab", "check": "fetcher", "producer": "producer", "fetcher": "fetcher"}
    assert said == [(command, f"{extra}]' brings it") for command, extra in wanted.items()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sync", "--request-id", "\udcff"), "--request-id: not UTF-8, got '\\xff'"),
        (("halt", "X", "--reason", "\udcffa"), "--reason: not UTF-8, got '\\xffa'"),
        (("cancel", "\udcff", "--reason", "x"), "argument 2: not UTF-8, got '\\xff'"),
        (("\udcff",), "argument 1: not UTF-8, got '\\xff'"),
    ],
)
def test_an_argument_that_is_no_text(arguments: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code, done.stderr) == (2, f"{said}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--from", "2026-01-02T00:00:00Z", "--to", "2026-01-01T00:00:00Z"),
            "--to: 2026-01-01T00:00:00+00:00 is not after",
        ),
        (("--start", "2026-01-02", "--end", "2026-01-01"), "--end: 2026-01-01 is before --start 2026-01-02"),
    ],
)
def test_a_range_that_is_reversed(arguments: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(replay, arguments, env=SETTINGS)
    assert done.exit_code == 2
    assert said in done.stderr


def test_numbers_that_are_none() -> None:
    for command, arguments in (
        (reconcile, ("--sample", "-3")),
        (reconcile, ("--tolerance", "nan")),
        (dead_letters, ("redrive", "--all", "--rate", "nan")),
    ):
        done = CliRunner().invoke(command, arguments, env=SETTINGS)
        assert (done.exit_code, f"'{arguments[-2]}'" in done.stderr) == (2, True), arguments
    done = CliRunner().invoke(dead_letters, ("show", "²:1"), env=SETTINGS)
    assert (done.exit_code, done.stderr) == (2, "PLACE: '²:1' is not PARTITION:OFFSET\n")
