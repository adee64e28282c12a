"""The command line ``unpool``: a frame that loads its verbs from the entry points of group ``unpool.commands``."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import ParamSpec, TypeAlias, TypeVar

import typer
import typer.core
import typer.main

from unpool.client.commands.output import fail
from unpool.client.errors import InvalidArgumentError, OutOfRangeError, UnpoolError

GROUP = "unpool.commands"
FAILURE, USAGE, INTERRUPTED = 1, 2, 130
_EXTRA_OF_ROOM = {"client": "", "converters": "converters"}

Command: TypeAlias = typer.core.TyperCommand | typer.core.TyperGroup
P = ParamSpec("P")
T = TypeVar("T")


class Verbs(typer.core.TyperGroup):
    """Loads a verb when it is asked for, so that ``unpool models`` imports nothing of the server."""

    def list_commands(self, ctx: object) -> list[str]:
        return [point.name for point in _entry_points()]

    def get_command(self, ctx: object, cmd_name: str) -> Command | None:
        return next((_load(point) for point in _entry_points() if point.name == cmd_name), None)


app = typer.Typer(cls=Verbs, name="unpool", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def root() -> None:
    """Shows what a trained network sees, from an ONNX file alone."""


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    app()


def expecting(verb: Callable[P, T], extra: str = "") -> Callable[P, T]:
    """Wraps a verb so that expected errors end in a line on standard error and an exit code, not in a stack trace.

    Args:
        verb: the function of the verb.
        extra: the extra that it needs, named when a package is missing.
    """

    @functools.wraps(verb)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return verb(*args, **kwargs)
        except (InvalidArgumentError, OutOfRangeError) as error:
            fail(str(error))
            raise typer.Exit(USAGE) from None
        except BrokenPipeError:
            # The reader of standard output has seen enough; nothing more may be written there, not even at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILURE) from None
        except (UnpoolError, OSError) as error:
            fail(str(error))
            raise typer.Exit(FAILURE) from None
        except KeyboardInterrupt:
            fail("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except ModuleNotFoundError as error:
            if not extra or (error.name or "").startswith("unpool."):
                raise
            fail(_advice(error, extra))
            raise typer.Exit(FAILURE) from None

    return guarded


def _entry_points() -> list[EntryPoint]:
    by_name = {point.name: point for point in entry_points(group=GROUP)}
    return sorted(by_name.values(), key=lambda point: point.name)


def _load(point: EntryPoint) -> Command:
    extra = _extra(point.module)
    try:
        verb = point.load()
    except ImportError as error:
        return _command(point.name, _placeholder(error, extra), lenient=True)
    if isinstance(verb, typer.Typer):
        return _group(point.name, verb, extra)
    return _command(point.name, expecting(verb, extra))


def _group(name: str, verbs: typer.Typer, extra: str) -> typer.core.TyperGroup:
    """Verbs of one name, such as ``exemplars scan`` and ``exemplars show``."""
    group = typer.Typer(name=name, no_args_is_help=True, add_completion=False, rich_markup_mode=None)
    if verbs.registered_callback is not None and verbs.registered_callback.callback is not None:
        group.callback()(verbs.registered_callback.callback)
    for verb in verbs.registered_commands:
        if verb.callback is not None:
            group.command(verb.name)(expecting(verb.callback, extra))
    command = typer.main.get_command(group)
    if not isinstance(command, typer.core.TyperGroup):
        raise TypeError(f"the verbs of {name} are no group")
    return command


def _extra(module: str) -> str:
    top, _, rest = module.partition(".")
    return _EXTRA_OF_ROOM.get(rest.partition(".")[0], "server") if top == "unpool" else ""


def _placeholder(error: ImportError, extra: str) -> Callable[[], None]:
    advice = _advice(error, extra)

    def missing() -> None:
        fail(advice)
        raise typer.Exit(FAILURE)

    missing.__doc__ = f"Not available: {advice}"
    return missing


def _command(name: str, verb: Callable[..., object], *, lenient: bool = False) -> typer.core.TyperCommand:
    # A verb that cannot run still takes any options, so that its advice comes and not a complaint about them.
    settings = {"ignore_unknown_options": True, "allow_extra_args": True} if lenient else {}
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command(name, context_settings=settings, add_help_option=not lenient)(verb)
    command = typer.main.get_command(single)
    if not isinstance(command, typer.core.TyperCommand):
        raise TypeError(f"the verb {name} is no command")
    return command


def _advice(error: ImportError, extra: str) -> str:
    what = f"no module {error.name}" if error.name else str(error)
    return f"{what}: pip install 'unpool[{extra}]'" if extra else what


if __name__ == "__main__":
    main()
