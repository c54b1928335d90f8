"""What every public object is: fixed once made, short to print, the same after pickling."""

from __future__ import annotations

import inspect
from abc import ABCMeta
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

_SHOWN = 8  # entries of an array that a repr writes out


class _FixedOnceMade(ABCMeta):
    """Closes an object when its constructor, a subclass's included, is through."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        made.__dict__["_made"] = True
        return made


class Record(metaclass=_FixedOnceMade):
    """Base class of public objects: immutable, with a ``repr`` of the parameters that differ from their defaults.

    As in scikit-learn, each parameter of the constructor is an attribute of the same name. Values that are worked out
    later are kept by `functools.cached_property`, which writes to the instance's dictionary.

    Examples
    --------
    >>> import fedshap as fs
    >>> fs.PowerLaw(3, beta=0.5)
    PowerLaw(n_agents=3, beta=0.5)
    >>> fs.PowerLaw(3).beta = 0.2
    Traceback (most recent call last):
    ...
    AttributeError: PowerLaw is immutable; make another one with the beta you want
    """

    #: What a class works out from others of its methods, and from which: see `__init_subclass__`.
    _shortcuts: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __init_subclass__(cls, **settings: Any) -> None:
        """Let the object decide, not its class: a subclass that overrides a method loses the shortcuts made from it.

        They are replaced by the general version of the class that lists them: ``_NAME_in_general`` or ``NAME`` there.
        """
        super().__init_subclass__(**settings)
        for base in cls.__mro__[1:]:
            for name, sources in vars(base).get("_shortcuts", {}).items():
                if name not in vars(cls) and any(source in vars(cls) for source in sources):
                    setattr(cls, name, vars(base).get(f"_{name}_in_general", vars(base)[name]))

    def __setattr__(self, name: str, value: object) -> None:
        if "_made" in self.__dict__:
            raise AttributeError(f"{type(self).__name__} is immutable; make another one with the {name} you want")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: its {name} cannot be deleted")

    def __setstate__(self, state: dict[str, Any]) -> None:
        for value in state.values():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)  # pickling and copying lose it
        vars(self).update(state)

    def __repr__(self) -> str:
        shown = [f"{name}={_short(value)}" for name, value in self._parameters().items()]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _parameters(self) -> dict[str, Any]:
        """The constructor's parameters that are worth showing."""
        declared = inspect.signature(type(self).__init__).parameters
        given = {name: getattr(self, name) for name in declared if name != "self" and hasattr(self, name)}
        return {name: value for name, value in given.items() if not _is_default(value, declared[name].default)}


def _is_default(value: object, default: object) -> bool:
    """Whether a parameter was left at its default, arrays filled with it included."""
    if isinstance(value, np.ndarray) and isinstance(default, (int, float)):
        return bool((value == default).all())
    return value is default or (isinstance(value, (int, float, str)) and value == default)


def _short(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, np.ndarray):
        if value.ndim == 1 and value.size <= _SHOWN:
            return f"[{', '.join(f'{entry:g}' for entry in value)}]"
        return f"<array {' x '.join(map(str, value.shape))}>"
    if isinstance(value, float):
        return f"{value:g}"
    if callable(value) and not isinstance(value, Record):
        return getattr(value, "__qualname__", repr(value))
    return repr(value)
