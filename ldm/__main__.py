"""python -m ldm ...: the same as the command ldm."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
