"""`python -m pathc`."""

from __future__ import annotations

import sys

from pathc.cli import main

if __name__ == "__main__":
    sys.exit(main())
