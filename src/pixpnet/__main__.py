"""``python -m pixpnet``."""

import sys

from pixpnet.cli import main

sys.exit(main())
