"""Which pixels a feature cell can see: exact receptive fields of convolutional networks, and a NaN probe."""

from pixpnet.receptive_fields.field import ReceptiveField
from pixpnet.receptive_fields.probe import probe_receptive_field, probe_receptive_fields
from pixpnet.receptive_fields.propagate import SaysItsField, receptive_field, receptive_fields

__all__ = [
    "ReceptiveField",
    "SaysItsField",
    "probe_receptive_field",
    "probe_receptive_fields",
    "receptive_field",
    "receptive_fields",
]
