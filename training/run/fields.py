"""Tables of TOML as fields of configurations: every name, type and range is checked, and what is wrong is said."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from tapsdk.errors import TapsdkError


class ConfigError(TapsdkError, ValueError):
    """A training configuration that cannot be run."""


def build(cls: type, table: Any, where: str) -> Any:
    """A dataclass from a table of a file. Raises ConfigError, which begins with `where`."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where} must be a table, not {table!r}")
    refuse_unknown(table, [f.name for f in dataclasses.fields(cls)], where)
    try:
        return cls(**{name: _tupled(value) for name, value in table.items()})
    except (TypeError, ConfigError) as error:
        raise ConfigError(f"{where}: {error}") from error


def refuse_unknown(table: dict[str, Any], allowed: typing.Collection[str], where: str) -> None:
    """Raises ConfigError unless all names in a table are allowed."""
    unknown = sorted(set(table) - set(allowed))
    if unknown:
        raise ConfigError(f"{where}: unknown {', '.join(unknown)}; allowed: {', '.join(allowed)}")


def check_fields(config: Any, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Types of all fields of a dataclass, and least and most of its numbers. Raises ConfigError."""
    for name, hint in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        if not _is_a(value, hint):
            raise ConfigError(f"{name} is {value!r}; it must be {_said(hint)}")
        if name not in ranges:
            continue
        least, most = ranges[name]
        if not all(least <= number <= most for number in (value if isinstance(value, tuple) else (value,))):
            bound = f"at least {least}" if most == math.inf else f"in [{least}, {most}]"
            raise ConfigError(f"{name} is {value!r}; it must be {bound}")


def overrides(config: Any, table: dict[str, Any]) -> dict[str, Any]:
    """A table of TOML as fields of the configuration of a model. Raises ConfigError."""
    hints = typing.get_type_hints(type(config))
    refuse_unknown(table, hints, "[architecture]")
    fields = {name: _tupled(value) for name, value in table.items()}
    for name, value in fields.items():
        numbers = [n for n in (value if isinstance(value, tuple) else (value,)) if isinstance(n, int | float)]
        if not _is_a(value, hints[name]) or any(n < 0 for n in numbers):
            bound = "" if typing.get_origin(hints[name]) is typing.Literal else ", not negative"
            raise ConfigError(f"[architecture]: {name} is {table[name]!r}; it must be {_said(hints[name])}{bound}")
    return fields


def _tupled(value: Any) -> Any:
    """TOML has lists where configurations have tuples."""
    return tuple(value) if isinstance(value, list) else value


def _is_a(value: Any, hint: Any) -> bool:
    kinds = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return any(_is_a(value, kind) for kind in kinds)
    if typing.get_origin(hint) is typing.Literal:
        return value in kinds
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = kinds[:1] * len(value) if kinds[-1] is ... else kinds
        return len(kinds) == len(value) and all(map(_is_a, value, kinds))
    kind = typing.get_origin(hint) or hint
    if isinstance(value, bool):  # which Python takes for a number
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _said(hint: Any) -> str:
    """A type in words."""
    kinds = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and kinds[-1] is not ...:
        return f"{len(kinds)} of {_said(kinds[0])}"
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(repr, kinds))
    return str(hint) if kinds else hint.__name__
