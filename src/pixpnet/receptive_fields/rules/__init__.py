"""What every operation does to receptive fields: tables of rules for functions, methods and modules."""

from pixpnet.receptive_fields.rules.functions import FUNCTIONS, IN_PLACE_OPERATORS, METHODS
from pixpnet.receptive_fields.rules.modules import MODULES, module_rule

__all__ = ["FUNCTIONS", "IN_PLACE_OPERATORS", "METHODS", "MODULES", "module_rule"]
