"""Values as plain data and back: one writer and one reader for every frozen dataclass that is kept in a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from enum import Enum, IntEnum, StrEnum
from functools import cache
from types import UnionType
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

from chatlab.errors import ChatlabError, PlainDataError


class Plain:
    """Gives a dataclass ``to_dict`` and ``from_dict``, both made from the types of its fields.

    **Law.** ``from_dict(to_dict(x)) == x``, also after a trip through JSON, and what does not fit is a
    :class:`PlainDataError` that names where it stands; nothing unknown is dropped. A field that cannot be kept in a
    file is marked ``field(metadata={"plain": False})``: it is not written, and has its default when read.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    plain_error: ClassVar[type[ChatlabError]] = PlainDataError
    """What ``from_dict`` raises: a subclass may name its own."""
    told_beside: ClassVar[tuple[str, ...]] = ()
    """Properties that are written for readers, and left aside when the value is read."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        found: dict[str, Any] = _converter().unstructure(self, type(self))
        return found

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the value that ``to_dict`` wrote.

        Raises:
            PlainDataError: a field is missing, unknown or of another type; the message names its place.
        """
        import cattrs

        try:
            found: Self = _converter().structure(data, cls)
        except ChatlabError:
            raise
        except Exception as error:  # cattrs raises groups of any error that a type's own constructor may raise
            told = "; ".join(cattrs.transform_error(error, path=cls.__name__))
            raise cls.plain_error(f"this is no {cls.__name__} as to_dict writes it: {told}") from error
        return found


@cache
def _converter() -> Any:
    import cattrs

    made = cattrs.Converter(forbid_extra_keys=True)
    for kind in (str, int, float, bool):
        made.register_structure_hook(kind, _exactly(kind))
    made.register_structure_hook_func(_is_one_of_scalars, _one_of)
    for words in (Enum, IntEnum, StrEnum):
        made.register_unstructure_hook(words, lambda value: getattr(value, "label", value.value))
        made.register_structure_hook(words, _member)
    made.register_unstructure_hook_factory(_is_plain, lambda kind: _writer(kind, made))
    made.register_structure_hook_factory(_is_plain, lambda kind: _reader(kind, made))
    made.register_unstructure_hook_func(lambda kind: getattr(kind, "__origin__", kind) is tuple, _listed(made))
    return made


def _member(value: Any, kind: Any) -> Any:
    """Return the member of an enum whose word or value is ``value``."""
    return kind.from_label(value) if hasattr(kind, "from_label") else kind(value)


def _exactly(kind: type) -> Callable[[Any, Any], Any]:
    """Return a reader that takes no text for a number and no number for a text; JSON has one kind of number."""

    def read(value: Any, _: Any) -> Any:
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise TypeError(f"{value!r:.60} is no {kind.__name__}")
        return value

    return read


def _is_one_of_scalars(kind: Any) -> bool:
    """Whether a type is a union of JSON's own scalars, such as ``int | bool | None``, which tell themselves apart."""
    scalars = set(get_args(kind)) - {type(None)}
    return get_origin(kind) is UnionType and len(scalars) > 1 and scalars <= {str, int, bool, float}


def _one_of(value: Any, kind: Any) -> Any:
    if type(value) not in get_args(kind):
        raise TypeError(f"{value!r:.60} is no {kind}")
    return value


def _listed(made: Any) -> Callable[[Any], Any]:
    return lambda value: [made.unstructure(item) for item in value]


def _is_plain(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _left_out(kind: Any) -> dict[str, Any]:
    from cattrs.gen import override

    return {f.name: override(omit=True) for f in dataclasses.fields(kind) if not f.metadata.get("plain", True)}


def _writer(kind: type, made: Any) -> Callable[[Any], dict[str, Any]]:
    from cattrs.gen import make_dict_unstructure_fn

    write: Callable[[Any], dict[str, Any]] = make_dict_unstructure_fn(kind, made, **_left_out(kind))
    beside = getattr(kind, "told_beside", ())
    return lambda value: write(value) | {name: made.unstructure(getattr(value, name)) for name in beside}


def _reader(kind: type, made: Any) -> Callable[[Any, Any], Any]:
    from cattrs.gen import make_dict_structure_fn

    get_type_hints(kind)  # a name that is imported for type checkers alone fails here, at its cause
    read: Callable[[Any, Any], Any] = make_dict_structure_fn(
        kind, made, _cattrs_forbid_extra_keys=True, **_left_out(kind)
    )

    def of_mapping(value: Any, asked: Any) -> Any:
        if not isinstance(value, Mapping):
            raise TypeError(f"{value!r:.60} is no mapping")
        return read({name: value[name] for name in value if name not in beside}, asked)

    beside = getattr(kind, "told_beside", ())
    return of_mapping
