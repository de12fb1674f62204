"""Runs side by side, from their files of results alone."""

from pixpnet.report.comparison.html import to_html
from pixpnet.report.comparison.markdown import to_markdown
from pixpnet.report.comparison.runs import read_runs
from pixpnet.report.comparison.table import Comparison, compare

__all__ = ["Comparison", "compare", "read_runs", "to_html", "to_markdown"]
