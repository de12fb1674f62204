"""The ``pixpnet`` command."""

from pixpnet.cli.console import say
from pixpnet.cli.main import exit_code, main
from pixpnet.cli.parser import Parser, number_in

__all__ = ["Parser", "exit_code", "main", "number_in", "say"]
