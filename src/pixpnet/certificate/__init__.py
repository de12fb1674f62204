"""The grounding certificate: what lies outside a displayed box does not touch the features behind it."""

from pixpnet.certificate.record import Certificate, FailedTrial, Finding
from pixpnet.certificate.trials import (
    REPLACEMENTS,
    TOLERANCE,
    Trial,
    certificate_file,
    certify,
    find_certificate,
    verify,
    write_certificate,
)

__all__ = [
    "REPLACEMENTS",
    "TOLERANCE",
    "Certificate",
    "FailedTrial",
    "Finding",
    "Trial",
    "certificate_file",
    "certify",
    "find_certificate",
    "verify",
    "write_certificate",
]
