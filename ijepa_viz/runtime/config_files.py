"""YAML into dataclasses, strictly: an unknown key is an error that names the nearest known one.

A renamed key stays readable: its dataclass has ``RENAMED: ClassVar[dict[str, str]]``, old key -> new key. Both at once
are an error.

OmegaConf's structured configs (2.3) are as strict, but their errors do not name the file, a number passes for a text,
keys that were renamed cannot be read, and they bring two more packages: hence these lines of our own.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


def load(kind: type[T], path: str | Path, overrides: typing.Sequence[str] = ()) -> T:
    """Read a YAML file into the dataclass ``kind``.

    Args:
        kind: a dataclass whose fields are dataclasses (sections) or plain values.
        path: the YAML file.
        overrides: ``section.key=value`` texts, the value in YAML; they win over the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML, an unknown key, or a value of the wrong type, named by its path.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No config file {path}.")
    try:
        data = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    data = _with_new_keys(kind, data, str(path))
    _apply(kind, data, overrides)
    return build(kind, data, str(path))


def override(config: T, overrides: typing.Sequence[str]) -> T:
    """A config with some settings changed; ``overrides`` as in :func:`load`, and raises as it does."""
    data = _lists(dataclasses.asdict(config))  # type: ignore[call-overload]
    _apply(type(config), data, overrides)
    return build(type(config), data, "An override")


def _with_new_keys(kind: Any, data: Any, where: str) -> Any:
    """``data`` with every renamed key of ``kind`` and of its sections under the new name.

    Raises:
        ValueError: a section has both the old and the new key.
    """
    if not isinstance(data, dict):
        return data
    renamed = getattr(kind, "RENAMED", {})
    hints = typing.get_type_hints(kind)
    found: dict[Any, Any] = {}
    for key, value in data.items():
        new = renamed.get(key, key)
        if new != key and new in data:
            raise ValueError(f"{where}: {key!r} is the old name of {new!r}: give one of them.")
        section = hints.get(str(new))
        found[new] = _with_new_keys(section, value, f"{where}: {new}") if dataclasses.is_dataclass(section) else value
    return found


def _with_new_names(kind: Any, keys: typing.Sequence[str]) -> list[str]:
    """The path ``keys`` of a setting of ``kind``, renamed keys under their new names."""
    found = []
    for key in keys:
        new = getattr(kind, "RENAMED", {}).get(key, key)
        found.append(new)
        kind = typing.get_type_hints(kind).get(new) if dataclasses.is_dataclass(kind) else None
    return found


def _apply(kind: Any, data: Any, overrides: typing.Sequence[str]) -> None:
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"An override reads KEY=VALUE, got {text!r}.")
        _set(data, _with_new_names(kind, key.strip().split(".")), yaml.safe_load(value), text)


def _set(data: Any, keys: list[str], value: Any, text: str) -> None:
    for key in keys[:-1]:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            raise ValueError(f"Override {text!r}: {key!r} is a value, not a section.")
    data[keys[-1]] = value


def build(kind: type[T], data: Any, where: str) -> T:
    """A dataclass from nested dicts, every key and type checked; ``where`` opens the messages."""
    if not isinstance(data, dict):
        raise ValueError(f"{where}: expected a section of keys, got {data!r}.")
    data = _with_new_keys(kind, data, where)
    hints = typing.get_type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    values = {}
    for key, value in data.items():
        if key not in known:
            if not isinstance(key, str):
                raise ValueError(f'{where}: YAML reads a key as {key!r}; put it in quotes, as in "null": 0.1.')
            near = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Known keys: {', '.join(known)}."
            raise ValueError(f"{where}: unknown key {key!r}.{hint}")
        values[key] = _convert(hints[key], value, f"{where}: {key}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    if origin in (types.UnionType, typing.Union):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        return _convert(next(o for o in options if o is not type(None)), value, where)
    if origin is tuple:
        inner = typing.get_args(hint)
        if not isinstance(value, list | tuple) or len(value) != len(inner):
            raise ValueError(f"{where}: expected {len(inner)} values, got {value!r}.")
        return tuple(_convert(i, v, where) for i, v in zip(inner, value, strict=True))
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected a section of keys, got {value!r}.")
        return value
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-6 without a dot as text
        except ValueError as error:
            raise ValueError(f"{where}: expected a number, got {value!r}.") from error
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ValueError(f"{where}: expected {hint.__name__}, got {value!r}.")
    return value


def dump(config: Any) -> str:
    """The config as YAML that :func:`load` reads back."""
    plain = dataclasses.asdict(config)
    return yaml.safe_dump(_lists(plain), sort_keys=False)


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _lists(v) for k, v in value.items()}
    return [_lists(v) for v in value] if isinstance(value, list | tuple) else value
