"""Pictures and reports of runs."""

from pixpnet.report.explanations import explain_images

__all__ = ["explain_images"]
