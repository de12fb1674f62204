"""The errors that PixPNet raises on purpose: each tells what was wanted, what came and what to do next."""


class PixPNetError(Exception):
    """Base of every error that PixPNet raises on purpose."""


class ConfigError(PixPNetError):
    """An option, argument or combination of them that cannot work."""


class DataError(PixPNetError):
    """Data or weights that are missing, damaged or not of the expected kind."""


class MissingDataError(DataError):
    """A data set that is not where it should be, nor can be made there."""


class UnsupportedOperationError(PixPNetError):
    """A network operation without a rule: its receptive field, or how relevance passes it, is not known."""


class CheckpointError(PixPNetError):
    """A run directory or checkpoint that is missing, of another version, or not safe to read."""


class FileError(PixPNetError):
    """A file that can't be read or written, or doesn't hold what it should."""
