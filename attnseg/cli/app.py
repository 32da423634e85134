"""The command line. Imports nothing heavy: `attnseg --help` must be instant."""

import os
import sys
from typing import Annotated

import typer

from attnseg.cli.arguments import refuse_unusable
from attnseg.cli.attention import attention
from attnseg.cli.check import check
from attnseg.cli.compare import compare
from attnseg.cli.convert import convert
from attnseg.cli.demo import demo
from attnseg.cli.doctor import doctor
from attnseg.cli.evaluate import evaluate
from attnseg.cli.model import model_app
from attnseg.cli.output import guard_output, harmless
from attnseg.cli.plan import plan
from attnseg.cli.predict import predict
from attnseg.cli.report import report
from attnseg.cli.train import train
from attnseg.cli.view import view
from attnseg.disk import is_full
from attnseg.errors import AGAIN, FREE_SPACE, AttnsegError
from attnseg.signals import STOPPED, end_on_signals, end_stopped, nothing_left, stop_asked

app = typer.Typer(
    name="attnseg",
    help="Medical image segmentation with the Attention U-Net.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"attnseg {version('attnseg')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works anywhere.")
    ] = False,
) -> None:
    """Medical image segmentation with the Attention U-Net: train, predict, see where it looks."""


for command in (
    demo,
    check,
    plan,
    train,
    predict,
    evaluate,
    compare,
    attention,
    view,
    report,
    convert,
    doctor,
):
    app.command()(command)
app.add_typer(model_app, name="model")


def main() -> None:
    """Run the command line; an error that the user can mend becomes one line and an exit code."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        refuse_unusable(arguments)
        app(arguments)
    except (AttnsegError, OSError) as error:
        if debug:
            raise
        full = isinstance(error, OSError) and is_full(error)
        _tell(f"{error}{f'; {FREE_SPACE}, {AGAIN}' if full else ''}")
        sys.exit(error.exit_code if isinstance(error, AttnsegError) else 1)
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    except Exception as error:  # of a library, which has its own words for a full disk
        if debug or not is_full(error):
            raise
        _tell(f"no space left on a disk ({' '.join(str(error).split())}); {FREE_SPACE}, {AGAIN}")
        sys.exit(1)


def _tell(text: str) -> None:
    typer.echo(f"attnseg: {harmless(text)}", err=True)


def run() -> None:
    """The command line as a process of its own.

    What cannot be printed ends no command. Where output was lost, as on a full disk, the exit code
    says so in the end; a reader that has closed its pipe had what it wanted.

    After a prediction all files are closed and all threads have ended; taking PyTorch's modules
    apart one by one would be half a second more. After a stop threads may be in the midst of
    something, and are not waited for.
    """
    end_on_signals()
    out, err = guard_output()
    code = _exit_code()
    if code == STOPPED:
        end_stopped()
    out.flush()
    if out.incomplete:
        typer.echo(
            f"attnseg: the output could not be printed in full ({out.incomplete}); files that "
            "were written are whole",
            err=True,
        )
        code = code or 1
    err.flush()
    if sys.argv[1:2] != ["predict"]:
        nothing_left()
        sys.exit(code)
    os._exit(code)


def _exit_code() -> int:
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        # What fails once a stop is asked for, as other processes end, follows from the stop.
        return STOPPED if code == 1 and stop_asked() else code
    except Exception:
        if stop_asked():
            return STOPPED
        raise
    return 0
