"""``python -m fedshap``: the command ``fedshap``, see :mod:`fedshap.cli`."""

import sys

from fedshap.cli import main

if __name__ == "__main__":
    sys.exit(main())
