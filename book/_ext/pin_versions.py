"""Write ``book/constraints.txt``: versions that the stored outputs were made with.

Only what computes or prints is pinned. Outputs do not depend on the rest (Jupyter,
Sphinx, the test tools), and CUDA libraries differ from machine to machine.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
PINNED = (
    *("numpy", "scipy", "sympy", "mpmath", "matplotlib", "pandas"),
    *("torch", "torchvision", "scikit-learn", "safetensors"),
)


def pins() -> str:
    """One line a package; a local version such as ``+cpu`` names the build only."""
    head = f"# Written by `make pins` with Python {platform.python_version()}."
    lines = [f"{name}=={version(name).split('+')[0]}" for name in PINNED]
    return "\n".join([head, *lines, ""])


if __name__ == "__main__":
    CONSTRAINTS.write_text(pins(), encoding="utf8")
