"""Where benchmarks keep what they measured."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path
from typing import Any

from fedshap._files import write_json

RESULTS = Path(__file__).parents[2] / "book" / "results"


def save(name: str, what: str, *, machine: dict[str, Any] | None = None, **content: Any) -> None:
    """Write ``book/results/NAME.json``, all of it or nothing, with the date and the machine in words."""
    record = {
        "what": what,
        "date": datetime.date.today().isoformat(),
        "machine": {
            "processors": os.cpu_count(),
            "architecture": platform.machine(),
            "python": platform.python_version(),
            **(machine or {}),
        },
        **content,
    }
    write_json(RESULTS / f"{name}.json", record)
