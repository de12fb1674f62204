"""Where `pixpnet.synthbirds` was at first; scripts of that time import it from here."""

from pixpnet.synthbirds import *  # noqa: F403
