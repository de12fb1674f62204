"""The ``pixpnet`` command."""

from pixpnet.cli.main import main

__all__ = ["main"]
