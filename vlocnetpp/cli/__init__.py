"""The command line: one file for each group of commands; nothing in the library imports it."""

from vlocnetpp.cli.main import build_parser, main

__all__ = ["build_parser", "main"]
