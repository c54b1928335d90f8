"""What every public object is: fixed once made, short to print, the same after pickling."""

from __future__ import annotations

import inspect
from abc import ABCMeta
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

_Made = TypeVar("_Made")
_SHOWN = 8  # entries of an array that a repr writes out


class _FixedOnceMade(ABCMeta):
    """Closes an object when its constructor, a subclass's included, is through."""

    def __call__(cls: type[_Made], *args: Any, **kwargs: Any) -> _Made:
        made = super().__call__(*args, **kwargs)
        for name, value in made.__dict__.items():
            if isinstance(value, np.ndarray) and value.flags.writeable:  # perhaps the caller's own: leave that alone
                made.__dict__[name] = _fixed(value.copy())
        made.__dict__["_made"] = True
        return made

    @property
    def __signature__(cls) -> inspect.Signature:
        """The constructor's: `inspect`, and with it ``help``, would stop at `__call__`."""
        if cls.__init__ is object.__init__:
            return inspect.Signature()
        signature = inspect.signature(cls.__init__)
        return signature.replace(parameters=list(signature.parameters.values())[1:])


class Record(metaclass=_FixedOnceMade):
    """Base class of public objects: immutable, with a ``repr`` of the parameters that differ from their defaults.

    As in scikit-learn, each parameter of the constructor is an attribute of the same name. Values that are worked out
    later are kept by `functools.cached_property`, which writes to the instance's dictionary. Frozen dataclasses derive
    from it too, with ``repr=False``, for what dataclasses leave open: arrays that cannot be written to, a short repr,
    and the same after pickling.

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

    #: What a class works out from others of its methods, by hand, and from which: see `__init_subclass__`.
    _shortcuts: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __init_subclass__(cls, **settings: Any) -> None:
        """Let the object decide, not its ancestry: who overrides a method loses the shortcuts that were made from it.

        An inherited shortcut would speak of the parent. It is replaced by the general version of the class that lists
        it: ``_NAME_in_general`` or ``NAME`` there.
        """
        super().__init_subclass__(**settings)
        for base in cls.__mro__[1:]:
            for name, sources in vars(base).get("_shortcuts", {}).items():
                if any(overrides(cls, source, name) for source in sources):
                    own = inspect.getattr_static(base, name)
                    setattr(cls, name, inspect.getattr_static(base, f"_{name}_in_general", own))

    def __setattr__(self, name: str, value: object) -> None:
        if "_made" in self.__dict__:
            raise AttributeError(f"{type(self).__name__} is immutable; make another one with the {name} you want")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: its {name} cannot be deleted")

    def __setstate__(self, state: dict[str, Any]) -> None:
        for value in state.values():
            if isinstance(value, np.ndarray):
                _fixed(value)  # pickling and copying lose it
        vars(self).update(state)

    def __repr__(self) -> str:
        return short_repr(self, self._parameters())

    def _parameters(self) -> dict[str, Any]:
        """The constructor's parameters that are worth showing."""
        declared = inspect.signature(type(self).__init__).parameters
        given = {name: getattr(self, name) for name in declared if name != "self" and hasattr(self, name)}
        return {name: value for name, value in given.items() if not _is_default(value, declared[name].default)}


def short_repr(record: object, shown: Mapping[str, Any]) -> str:
    """``Name(field=value, ...)`` with every value in a few characters."""
    return f"{type(record).__name__}({', '.join(f'{name}={_short(value)}' for name, value in shown.items())})"


def overrides(cls: type, name: str, other: str) -> bool:
    """Whether a class has one method from nearer than another, in the order in which Python looks for them."""

    def place(wanted: str) -> int:
        return next((k for k, each in enumerate(cls.__mro__) if wanted in vars(each)), len(cls.__mro__))

    return place(name) < place(other)


def _fixed(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def _is_default(value: object, default: object) -> bool:
    """Whether a parameter was left at its default, arrays filled with it included."""
    if isinstance(value, np.ndarray) and isinstance(default, (int, float)):
        return bool((value == default).all())
    return value is default or (isinstance(value, (int, float, str)) and value == default)


def _short(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, np.ndarray):
        if value.ndim == 0:
            return f"{value[()]:g}"
        if value.ndim == 1 and value.size <= _SHOWN:
            return f"[{', '.join(f'{entry:g}' for entry in value)}]"
        return f"<array {' x '.join(map(str, value.shape))}>"
    if isinstance(value, float):
        return f"{value:g}"
    if callable(value) and not isinstance(value, Record):
        return getattr(value, "__qualname__", repr(value))
    return repr(value)
