"""Train a PixPNet: the same as ``pixpnet train``."""

import sys

from pixpnet.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
