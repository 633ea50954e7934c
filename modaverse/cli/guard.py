"""How a command ends: errors as one line without a traceback, and an exit code that says what happened.

0    it worked
1    a generator or a model failed, or results could not be written
2    what was given cannot be used (a file, an option, a profile)
130  interrupted with Ctrl-C
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from modaverse.errors import ModaVerseError

P = ParamSpec("P")
R = TypeVar("R")

INTERRUPTED = 130
BROKEN_PIPE = 141


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command so that deliberate errors and Ctrl-C end it as above. Bugs still show a traceback."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        quieten()
        try:
            return command(*args, **kwargs)
        except ModaVerseError as error:
            complain(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader has gone (`| head`). Python would complain again when it flushes stdout at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from None

    return wrapper


def complain(error: ModaVerseError) -> None:
    """Write an error to stderr as one line: what is wrong, and the way out."""
    text = f"error: {error.message}"
    if error.hint:
        text += f"  hint: {error.hint}"
    print(" ".join(text.splitlines()), file=sys.stderr)


def quieten() -> None:
    """Keep the libraries' own progress bars and notices out of what the commands show."""
    for name, value in (
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("DIFFUSERS_VERBOSITY", "error"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("TOKENIZERS_PARALLELISM", "false"),
    ):
        os.environ.setdefault(name, value)
    # bitsandbytes, which peft imports where it is installed, says on some CPUs what would make it faster.
    for name in ("bitsandbytes", "matplotlib"):
        logging.getLogger(name).setLevel(logging.ERROR)
