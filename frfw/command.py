"""Run a command so that whatever goes wrong ends as one clear line and exit code 1."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from frfw.config import config_dir
from frfw.errors import FrfwError, nearest

SKIP_MISSING = {"--skip-missing": "evaluation.skip_missing=true"}  # the flag and what it means


def run(main: Callable[[], Any]) -> None:
    """Call `main`; say an exception in one line (FRFW_TRACEBACK=1: all of it), exit 1."""
    for stream in (sys.stdout, sys.stderr):  # file names need not be text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        report(error)
        sys.exit(1)


def report(error: BaseException) -> None:
    """Print `error` on standard error as one line, after its traceback where that was asked for."""
    if os.environ.get("FRFW_TRACEBACK") == "1":
        traceback.print_exception(error)
    print(f"error: {one_line(error)}", file=sys.stderr, flush=True)


def one_line(error: BaseException) -> str:
    """Say `error` in one line: our own messages as they are, others with their type."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, FrfwError | ValueError | FileNotFoundError):
        return text
    return f"{type(error).__name__}: {text} (FRFW_TRACEBACK=1 shows where)"


def hydra_command(
    config_name: str, flags: Mapping[str, str] | None = None
) -> Callable[[Callable[[Any], Any]], Callable[[], None]]:
    """Turn `main(cfg)` into a command that composes `configs/<config_name>.yaml` with Hydra.

    Overrides are `key=value` on the command line; `--help`, `--cfg job` and `-m` are Hydra's own
    and may stand anywhere among them. An unknown key or group choice is refused with the nearest
    right name.

    Args:
        config_name: of the file in `configs/`.
        flags: what else may be typed, and the override that it stands for.
    """

    def decorate(main: Callable[[Any], Any]) -> Callable[[], None]:
        def command() -> None:
            run(lambda: _compose_and_call(config_name, main, flags or {}))

        command.__doc__ = main.__doc__
        return command

    return decorate


def in_hydras_order(arguments: Sequence[str], flags: Mapping[str, str] | None = None) -> list[str]:
    """Put the overrides of a command line before its flags.

    Hydra's parser wants all overrides in one piece: it refuses `a=1 -m b=2` and `-m a=1 --cfg job
    b=2`. The order among overrides stays.

    Raises:
        FrfwError: an unknown flag, or one without its value.
    """
    from hydra._internal.utils import get_args_parser

    flags = flags or {}
    arguments = [flags.get(a, a) for a in arguments]
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        wrong = next((a for a in arguments if a.startswith("-") and a in message), "")
        known = [*flags, *parser._option_string_actions]
        raise FrfwError(f"{message}.{nearest(wrong, known) if wrong else ''} --help shows more")

    parser.error = refuse  # type: ignore[method-assign]
    overrides = parser.parse_intermixed_args(arguments).overrides
    others, left = [], list(overrides)
    for argument in arguments:
        if left and argument == left[0]:
            left.pop(0)
        else:
            others.append(argument)
    return [*overrides, *others]


def _compose_and_call(
    config_name: str, main: Callable[[Any], Any], flags: Mapping[str, str]
) -> None:
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from frfw.overrides import explain, refuse_words, renamed

    refuse_words(sys.argv[1:])
    sys.argv[1:] = in_hydras_order(renamed(sys.argv[1:]), flags)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands exceptions on to us instead of printing
    entry = hydra.main(config_path=str(config_dir()), config_name=config_name, version_base="1.3")

    def job(cfg: Any) -> Any:
        try:
            return main(cfg)
        except Exception as error:  # Hydra would print its own lines about it first
            report(error)
            sys.exit(1)

    job.__module__ = main.__module__
    try:
        entry(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise FrfwError(explain(error, config_name, sys.argv[1:])) from error
