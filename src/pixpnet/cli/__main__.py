"""``python -m pixpnet.cli``."""

import sys

from pixpnet.cli.main import main

sys.exit(main())
