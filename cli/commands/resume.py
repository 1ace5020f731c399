"""`gsc-stream resume`: allow calls in a scope again."""

from typing import Any, get_args

import click

from cli.context import fail
from cli.control import HaltFilter, print_control, resume_halts, resume_scope
from cli.options import json_option
from cli.output import print_json
from pipeline.contracts.halts import KINDS, halt_record
from pipeline.contracts.messages import Cause
from pipeline.contracts.resources import HaltList


@click.command()
@click.argument("scope", required=False)
@click.option("--cause", type=click.Choice(get_args(Cause)), help="Resume the halts with this cause.")
@click.option("--kind", type=click.Choice(KINDS), help="Resume the halts of scopes of this kind.")
@click.option("--credential", metavar="ID", help="Resume the halts of this credential and of its properties.")
@click.option("--all", "every", is_flag=True, help="Resume every halt.")
@click.option("--reason", default="", help="Reason, for the record.")
@json_option
def resume(scope: str | None, every: bool, reason: str, as_json: bool, **selected: Any) -> None:
    """Allow calls in SCOPE again, or in every halted scope that the options select. Deferred pages are fetched then.

    Options can be combined: `--credential acme --cause permission` resumes what acme has lost its permission for.
    `gsc-stream halts` lists scopes and causes.

    \b
    Examples:
      gsc-stream resume credential:acme
      gsc-stream resume --credential acme --cause permission
    """
    selection = HaltFilter(**selected)
    if (scope is not None) + (every or selection.is_set) != 1:
        fail("give a SCOPE, or options that select halts: --cause, --kind, --credential, or --all")
    if scope is not None:
        _resume_one(scope, reason, as_json)
    else:
        _resume_selected(selection, reason, as_json)


def _resume_one(scope: str, reason: str, as_json: bool) -> None:
    control, was_halted = resume_scope(scope, reason)
    if was_halted or as_json:
        print_control(control, as_json)
    else:
        click.echo(f"{scope} is not halted: nothing has changed")


def _resume_selected(selection: HaltFilter, reason: str, as_json: bool) -> None:
    controls = resume_halts(selection, reason)
    if as_json:
        print_json(HaltList([halt_record(control) for control in controls]))
    elif controls:
        for control in controls:
            print_control(control, as_json)
    else:
        click.echo("No such halt: nothing has changed.")
