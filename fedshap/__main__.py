"""``python -m fedshap``: the paper's tables as commands."""

import sys

try:
    from fedshap.reproduce import main
except ImportError as error:
    sys.exit(f"fedshap: error: {error}")

sys.exit(main())
