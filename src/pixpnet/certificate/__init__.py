"""The grounding certificate: what lies outside a displayed box does not touch the features behind it."""

from pixpnet.certificate.record import Certificate, FailedTrial, Finding
from pixpnet.certificate.run import certificate_file, verify
from pixpnet.certificate.trials import REPLACEMENTS, TOLERANCE, certify

__all__ = [
    "REPLACEMENTS",
    "TOLERANCE",
    "Certificate",
    "FailedTrial",
    "Finding",
    "certificate_file",
    "certify",
    "verify",
]
