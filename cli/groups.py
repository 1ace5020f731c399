"""Groups of commands: help in sections, the nearest name of a command or option, and errors in one line."""

import pkgutil
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import click

from cli.context import JSON_OUTPUT, fail
from pipeline.contracts.text import did_you_mean
from pipeline.process import EXIT_INTERRUPTED

Sections = dict[str, tuple[str, ...]]
"""The names of the commands in each section of the help."""


class Group(click.Group):
    """A group that names the nearest command when it has no such command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command and its arguments. Raises UsageError."""
        name, names = args[0], self.list_commands(ctx)
        if name not in names and not name.startswith("-") and not ctx.resilient_parsing:
            nearest = did_you_mean(name, names) or f"; `{ctx.command_path} --help` lists the commands"
            raise click.UsageError(f"unknown command {name!r}{nearest}", ctx)
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """The group of the modules of a package, each imported when its command is used: `halt` must not wait for Faust."""

    def __init__(self, *args: Any, package: ModuleType, sections: Sections, **options: Any) -> None:
        super().__init__(*args, **options)
        self._package = package
        self._sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return [module.name.replace("_", "-") for module in pkgutil.iter_modules(self._package.__path__)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None when there is no such command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"{self._package.__name__}.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section; those of no section come last."""
        names = self.list_commands(ctx)
        listed = {name for section in self._sections.values() for name in section}
        others = tuple(name for name in names if name not in listed)
        for title, section in {**self._sections, "Other": others}.items():
            commands = [(name, self.get_command(ctx, name)) for name in section]
            if rows := [(name, command.get_short_help_str(200)) for name, command in commands if command]:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the arguments before the name of the command."""
        with _one_line_errors():
            return super().make_context(info_name, args, parent, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember whether the output, and so errors, are JSON."""
        ctx.meta[JSON_OUTPUT] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _one_line_errors():
            return super().invoke(ctx)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        fail(_text(error), field=_field(error))
    except KeyboardInterrupt:
        fail("interrupted", EXIT_INTERRUPTED)


def _text(error: click.UsageError) -> str:
    field = _field(error)
    match error:
        case click.MissingParameter():
            return f"{field}: missing"
        case click.NoSuchOption():
            command = error.ctx.command_path if error.ctx else "gsc-stream"
            nearest = did_you_mean(error.option_name, error.possibilities or ())
            return f"{field}: unknown option{nearest or f'; `{command} --help` lists the options'}"
        case click.BadParameter() if field:
            return f"{field}: {_in_plain_words(error.message.rstrip('.'))}"
    return error.format_message().rstrip(".")


def _in_plain_words(message: str) -> str:
    """Return click's message without the names of its types."""
    message = re.sub("is not a valid integer( range)?$", "is not a whole number", message)
    return re.sub("is not a valid float( range)?$", "is not a number", message)


def _field(error: click.UsageError) -> str | None:
    """Return the option or argument that is wrong, as it is written on the command line."""
    if isinstance(error, click.NoSuchOption):
        return error.option_name
    if isinstance(error, click.BadParameter) and error.param is not None:
        parameter = error.param
        return parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name.upper()
    return None
