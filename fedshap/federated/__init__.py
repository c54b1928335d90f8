"""The torch half: real data, federated training and the payoffs fitted to it (Sec. 5.1 and App. E of the paper).

Imported only on demand: ``import fedshap`` never loads torch. Needs the extra ``pip install fedshap[train]``. The names
are loaded when the first of them is asked for: on Flower a process is started for each request to a client, and a
client whose network is not torch's has no use for seconds of it.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

_NEEDED = ("torch", "tqdm", "safetensors")

if TYPE_CHECKING:
    from fedshap.federated._public import *  # noqa: F403
    from fedshap.federated._public import __all__ as __all__


def __getattr__(name: str) -> Any:
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    try:
        for needed in _NEEDED:
            import_module(needed)
        return getattr(import_module(f"{__name__}._public"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("fedshap"):
            raise
        raise ImportError(
            f"fedshap.federated needs {error.name}, which is not installed: pip install fedshap[train]"
        ) from error


def __dir__() -> list[str]:
    return [*globals(), *__getattr__("__all__")]
