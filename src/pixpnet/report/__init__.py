"""Reports of runs, and runs side by side: HTML files that need no server and no network, and Markdown."""

from pixpnet.report.charts import read_charts
from pixpnet.report.comparison import Comparison, compare, read_runs, to_html, to_markdown
from pixpnet.report.contents import Report, collect
from pixpnet.report.page import asset, render, templates, write_report
from pixpnet.report.predictions import Predictions, confusion
from pixpnet.report.prototypes import Checked, check
from pixpnet.report.review import write_review
from pixpnet.report.tables import Cell, MetricTable, TableRow, read_metrics

__all__ = [
    "Cell",
    "Checked",
    "Comparison",
    "MetricTable",
    "Predictions",
    "Report",
    "TableRow",
    "asset",
    "check",
    "collect",
    "compare",
    "confusion",
    "read_charts",
    "read_metrics",
    "read_runs",
    "render",
    "templates",
    "to_html",
    "to_markdown",
    "write_report",
    "write_review",
]
