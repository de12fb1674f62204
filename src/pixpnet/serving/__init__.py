"""A trained network behind a page and a JSON API (extra `serve`): one process, one network at a time."""

from pixpnet.errors import ConfigError

try:
    from pixpnet.serving.app import create_app
    from pixpnet.serving.limits import Limits
    from pixpnet.serving.server import serve
except ModuleNotFoundError as error:
    if (error.name or "").startswith("pixpnet"):
        raise
    raise ConfigError(f"serve needs {error.name}: pip install 'pixpnet[serve]'.") from error

__all__ = ["Limits", "create_app", "serve"]
