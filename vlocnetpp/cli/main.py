"""The command `vlocnetpp`: look at data, convert it, train, export, evaluate, explain, inspect, time, benchmark."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from vlocnetpp.cli.arguments import Subcommands
from vlocnetpp.errors import refuse_mistyped_option, refuse_unknown_option
from vlocnetpp.extras import missing_extra


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    # Imported here, so that Ctrl-C during the imports is handled like any other.
    from vlocnetpp.cli import benchmark, data, evaluate, explain, export, inspect, speed, training

    parser = argparse.ArgumentParser(prog="vlocnetpp", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (data, training, export, evaluate, inspect, speed, benchmark, explain):
        module.add_commands(commands)
    return parser


def command_of(parser: argparse.ArgumentParser, words: Sequence[str]) -> tuple[argparse.ArgumentParser, bool]:
    """The command that the first words name, such as `data from-bag`, the whole command line where they name none, and
    whether a word stands in the place of a command that is none."""
    for word in words:
        choices = {
            name: each for a in parser._actions if isinstance(a, Subcommands) for name, each in a.choices.items()
        }
        if word not in choices:
            return parser, bool(choices) and not word.startswith("-")
        parser = choices[word]
    return parser, False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; a user's mistake ends in one line on standard error and exit status 2."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        parser = build_parser()
        command, misnamed = command_of(parser, words)
        overrides = command.get_default("overrides")  # train takes any setting as an option
        if not overrides and not misnamed:  # of a wrong command argparse itself says so
            refuse_unknown_option(command, words)
        args, rest = parser.parse_known_args(words)
        if overrides:
            refuse_mistyped_option(command, rest)
        elif rest:
            command.error(f"unrecognized arguments: {' '.join(rest)}")
        args.override = rest
        if sys.stderr.isatty():  # PyTorch takes seconds to import
            print(f"vlocnetpp {words[0]}: starting", file=sys.stderr, flush=True)
        return int(args.command(args))
    except BrokenPipeError:
        # The reader of a pipe has closed it (`| head`); the rest must not be flushed into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("vlocnetpp: interrupted", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if (missing := missing_extra(error, words[0] if words else "")) is None:
            raise
        print(f"vlocnetpp: {missing}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"vlocnetpp: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except ValueError as error:
        # Our own errors are mistakes of the user and name file and reason; any other ValueError is a bug.
        if not type(error).__module__.startswith("vlocnetpp"):
            raise
        print(f"vlocnetpp: {error}", file=sys.stderr)
        return 2
