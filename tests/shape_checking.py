"""The type checker of the tests: beartype, which here takes integers where floats are wanted (PEP 484)."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
