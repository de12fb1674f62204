"""Reports of runs: one HTML file that needs no server and no network."""

from pixpnet.report.html import write_report

__all__ = ["write_report"]
