"""``python -m fedshap``: the paper's tables as commands."""

import sys


def run() -> int | str:
    """The exit code of the command, or what to say where the training half is not installed."""
    try:
        from fedshap.paper.command import main
    except ImportError as error:
        return f"fedshap: error: {error}"
    return main()


if __name__ == "__main__":
    sys.exit(run())
