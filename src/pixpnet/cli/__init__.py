"""The ``pixpnet`` command."""

from pixpnet.cli.console import any_encoding, print_table, progress_bar, say
from pixpnet.cli.main import exit_code, main
from pixpnet.cli.parser import Parser, number_in

__all__ = [
    "Parser",
    "any_encoding",
    "exit_code",
    "main",
    "number_in",
    "print_table",
    "progress_bar",
    "say",
]
