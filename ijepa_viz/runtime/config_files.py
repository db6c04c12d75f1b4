"""YAML into dataclasses, strictly: an unknown key is an error that names the nearest known one.

All that is wrong is reported at once, each with its origin: the file, or the override that says it.

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

from ijepa_viz.runtime.files import read_text

T = TypeVar("T")
Keys = tuple[str, ...]


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
        data = yaml.safe_load(read_text(path)) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    return _read(kind, _with_new_keys(kind, data, str(path)), str(path), overrides)


def override(config: T, overrides: typing.Sequence[str]) -> T:
    """A config with some settings changed; ``overrides`` as in :func:`load`, and raises as it does."""
    data = _lists(dataclasses.asdict(config))  # type: ignore[call-overload]
    return _read(type(config), data, "The config", overrides)


def flat(config: Any) -> dict[str, Any]:
    """The settings of a config by their dotted paths, as ``optimization.lr``; tuples as lists."""
    found = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found.update({f"{field.name}.{key}": inner for key, inner in flat(value).items()})
        else:
            found[field.name] = _lists(value)
    return found


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


def _read(kind: type[T], data: Any, where: str, overrides: typing.Sequence[str]) -> T:
    """The dataclass ``kind`` of ``data`` with ``overrides``; raises one ValueError of all problems."""
    said: list[str] = []
    origins: dict[Keys, str] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        keys = tuple(_with_new_names(kind, key.strip().split(".")))
        try:
            if not equals:
                raise ValueError(f"An override reads KEY=VALUE, got {text!r}.")
            _set(data, keys, yaml.safe_load(value), text)
            origins[keys] = f"Override {text!r}"
        except yaml.YAMLError:
            said.append(f"Override {text!r}: the value is not valid YAML.")
        except ValueError as error:
            said.append(str(error))
    problems: list[tuple[Keys, str]] = []
    config = _build(kind, data, (), problems)
    for path, words in problems:
        # An override may have given a whole section.
        given = (origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in origins)
        said.append(f"{next(given, where)}: {words}")
    if said:
        raise ValueError("\n".join(said))
    assert config is not None
    return config


def _set(data: Any, keys: Keys, value: Any, text: str) -> None:
    if not isinstance(data, dict):
        return  # the whole file is no section of keys, which is said of it
    for key in keys[:-1]:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            raise ValueError(f"Override {text!r}: {key!r} is a value, not a section.")
    data[keys[-1]] = value


def build(kind: type[T], data: Any, where: str) -> T:
    """A dataclass from nested dicts, every key and type checked; ``where`` opens the messages."""
    return _read(kind, _with_new_keys(kind, data, where), where, ())


def _build(kind: type[T], data: Any, path: Keys, problems: list[tuple[Keys, str]]) -> T | None:
    """The dataclass, or None where something in it is wrong: then ``problems`` has grown by (path, words)."""

    def wrong(words: str, *keys: str) -> None:
        problems.append(((*path, *keys), ": ".join((*path, words))))

    if not isinstance(data, dict):
        wrong(f"expected a section of keys, got {data!r}.")
        return None
    hints = typing.get_type_hints(kind)
    known = _names(kind)
    values, before = {}, len(problems)
    for key, value in data.items():
        if not isinstance(key, str):
            wrong(f'YAML reads a key as {key!r}; put it in quotes, as in "null": 0.1.')
        elif key not in known:
            wrong(f"unknown key {key!r}.{_nearest(kind, key)}", key)
        else:
            values[key] = _convert(hints[key], value, (*path, key), problems)
    if len(problems) > before:
        return None
    try:
        return kind(**values)
    except TypeError as error:
        wrong(str(error))
        return None


def _nearest(kind: Any, key: str) -> str:
    """What an unknown key of the dataclass ``kind`` may have meant."""
    known = _names(kind)
    near = difflib.get_close_matches(key, known, n=1)
    if near:
        return f" Did you mean {near[0]!r}?"
    hints = typing.get_type_hints(kind)
    inside = [f"{name}.{key}" for name in known if dataclasses.is_dataclass(hints[name]) and key in _names(hints[name])]
    if inside:
        return f" Did you mean {inside[0]!r}?"
    return f" Known keys: {', '.join(known)}."


def _names(kind: Any) -> list[str]:
    return [f.name for f in dataclasses.fields(kind)]


def _convert(hint: Any, value: Any, path: Keys, problems: list[tuple[Keys, str]]) -> Any:
    """``value`` as ``hint`` says; a value of another type is added to ``problems``."""

    def wrong(words: str) -> None:
        problems.append((path, ": ".join((*path, words))))

    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, path, problems)  # type: ignore[arg-type]
    if origin in (types.UnionType, typing.Union):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        kinds = [o for o in options if o is not type(None)]
        if isinstance(value, list | tuple):  # of a number or a pair, such as a picture's size
            kinds.sort(key=lambda o: typing.get_origin(o) is not tuple)
        return _convert(kinds[0], value, path, problems)
    if origin is tuple:
        inner = typing.get_args(hint)
        if not isinstance(value, list | tuple) or len(value) != len(inner):
            wrong(f"expected {len(inner)} values, got {value!r}.")
            return None
        return tuple(_convert(i, v, path, problems) for i, v in zip(inner, value, strict=True))
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            wrong(f"expected a section of keys, got {value!r}.")
        return value
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-6 without a dot as text
        except ValueError:
            wrong(f"expected a number, got {value!r}.")
            return None
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        wrong(f"expected {hint.__name__}, got {value!r}.")
    return value


def dump(config: Any) -> str:
    """The config as YAML that :func:`load` reads back."""
    plain = dataclasses.asdict(config)
    return yaml.safe_dump(_lists(plain), sort_keys=False)


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _lists(v) for k, v in value.items()}
    return [_lists(v) for v in value] if isinstance(value, list | tuple) else value
