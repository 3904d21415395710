"""Builds anything by kind and name; a factory's own signature is its schema.

Each package keeps one explicit dict of its factories; this module gathers them. A spec is a name, or a mapping
with `name` and options: `{name: dsgd, lr: 0.1}`. Options are checked against the factory's signature by a
pydantic model made from it, so there is one place per hyper-parameter. Options left of a bare `*` may be traced
(swept in one compilation), options right of it are static.
"""

import difflib
import inspect
import types
import typing
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Literal

import numpy as np
import pydantic

from dlax.algorithms import ALGORITHMS, SCHEDULED
from dlax.algorithms.asynchronous import ASYNCHRONOUS
from dlax.attacks import ATTACKS, PLACEMENTS
from dlax.channel import CHANNELS
from dlax.compress import COMPRESSORS
from dlax.data import DATASETS, PARTITIONS, Dataset, Partition
from dlax.faults import FAULTS
from dlax.models import MODELS, ModelFactory
from dlax.optimizers import OPTIMIZERS, SCHEDULES
from dlax.problems import PROBLEMS
from dlax.robust import PRE_RULES, RULES
from dlax.sampling import SAMPLINGS
from dlax.schedulers import SCHEDULERS, SPEEDS, STALENESS, Seconds, Staleness
from dlax.timing import WORK, Work
from dlax.topology import TOPOLOGIES, WEIGHTS, Base, Weights
from dlax.types import (
    Algorithm,
    Attack,
    Channel,
    Compressor,
    Fault,
    Optimizer,
    Placement,
    PreRule,
    Rule,
    Scalar,
    Schedule,
)

REGISTRY: dict[str, Mapping[str, Callable[..., Any]]] = {
    "algorithm": ChainMap(ASYNCHRONOUS, SCHEDULED, ALGORITHMS),
    "topology": TOPOLOGIES,
    "weights": WEIGHTS,
    "channel": CHANNELS,
    "compressor": COMPRESSORS,
    "rule": RULES,
    "pre_rule": PRE_RULES,
    "attack": ATTACKS,
    "placement": PLACEMENTS,
    "fault": FAULTS,
    "sampling": SAMPLINGS,
    "scheduler": SCHEDULERS,
    "speeds": SPEEDS,
    "staleness": STALENESS,
    "problem": PROBLEMS,
    "dataset": DATASETS,
    "partition": PARTITIONS,
    "model": MODELS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "work": WORK,
}

# An option with one of these annotations is itself a spec of that kind.
_NESTED: list[tuple[Any, str]] = [
    (Weights, "weights"),
    (Dataset, "dataset"),
    (Partition, "partition"),
    (ModelFactory, "model"),
    (Optimizer, "optimizer"),
    (Schedule, "schedule"),
    (Work, "work"),
    (Algorithm, "algorithm"),
    (Compressor, "compressor"),
    (Channel, "channel"),
    (Rule, "rule"),
    (PreRule, "pre_rule"),
    (Attack, "attack"),
    (Placement, "placement"),
    (Fault, "fault"),
    (Base, "topology"),  # a graph without its n
    (Seconds, "speeds"),
    (Staleness | str, "staleness"),
]

Spec = str | Mapping[str, Any]


def list_registry(kind: str) -> list[str]:
    """The names of a kind, in the registry's order.

    Raises:
      ValueError: if there is no such kind.
    """
    return list(_entries(kind))


def make(kind: str, name: str, **options: Any) -> Any:
    """Builds a registered thing.

        dlax.make("topology", "ring", n=16)
        dlax.make("algorithm", "dsgd", lr=0.1, optimizer="adam")

    Args:
      kind: "algorithm", "topology", "weights", "channel", "compressor", "rule", "pre_rule", "attack", "placement",
        "fault", "sampling", "scheduler", "speeds", "staleness", "problem", "dataset", "partition", "model",
        "optimizer", "schedule" or "work".
      name: an entry of that kind.
      **options: the factory's. An option that is itself a registered thing may be given as an object, a name,
        or a mapping with `name`.

    Returns:
      What the factory returns.

    Raises:
      ValueError: on an unknown kind, name or option (with a suggestion), or a value of the wrong type.
    """
    spec = resolve(kind, {"name": name, **options}, path=kind)
    return build(kind, spec)


def resolve(kind: str, spec: Spec, *, path: str, given: Iterable[str] = ()) -> dict[str, Any]:
    """Checks a spec and fills in every default, so that what was run is written down whole.

    Args:
      kind: what the spec describes.
      spec: a name, or a mapping with `name`.
      path: where the spec stands, for errors, such as "algorithm.optimizer".
      given: names of arguments that the caller fills in later (such as "n"), not options of the spec.

    Returns:
      A mapping with `name` first and all options; values are plain data, or objects that were given as such.

    Raises:
      ValueError: naming the dotted path, what was given and what is allowed.
    """
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping):
        raise ValueError(f"{path}: expected a name or a mapping with 'name', got {spec!r}")
    if "name" not in spec:
        raise ValueError(f"{path}: 'name' is missing; choose one of {', '.join(_entries(kind))}")
    name = spec["name"]
    factory = lookup(kind, name, path=path)
    options = {key: value for key, value in spec.items() if key != "name"}
    schema, nested = _schema(factory, frozenset(given))
    known = list(schema.model_fields)
    for key in options:
        if key not in known:
            takes = f"{name} takes {', '.join(known)}" if known else f"{name} takes no options"
            raise ValueError(
                f"{path}.{key}: unknown option, given {options[key]!r}; {takes}{suggest(key, known)}"
            )
    resolved_nested: dict[str, Any] = {}
    for key, inner_kind in nested.items():
        if key not in options:
            continue
        resolved_nested[key] = _resolve_nested(inner_kind, options.pop(key), f"{path}.{key}")
    try:
        checked = schema.model_validate({**options, **resolved_nested})
    except pydantic.ValidationError as error:
        raise ValueError(_explain(error, path)) from None
    result: dict[str, Any] = {"name": name}
    for key in known:
        value = getattr(checked, key)
        if key in nested and key not in resolved_nested:
            value = _resolve_default(nested[key], value)
        result[key] = list(value) if isinstance(value, tuple) and key not in nested else value
    return result


def build(kind: str, spec: Mapping[str, Any], **extra: Any) -> Any:
    """Calls the factory of a resolved spec, nested specs first.

    Args:
      kind: what the spec describes.
      spec: from `resolve`; values left of the `*` may be tracers.
      **extra: arguments that are not options, such as `n`.
    """
    factory = lookup(kind, spec["name"], path=kind)
    nested = _schema(factory)[1]
    options: dict[str, Any] = {}
    for key, value in spec.items():
        if key == "name":
            continue
        if key in nested:
            value = _build_nested(nested[key], value)
        options[key] = tuple(value) if isinstance(value, list) else value
    return factory(**extra, **options)


def traced_options(kind: str, name: str) -> list[str]:
    """The options left of the bare `*`, which may be traced and therefore swept with one compilation."""
    parameters = inspect.signature(lookup(kind, name, path=kind)).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "n"]


def lookup(kind: str, name: Any, *, path: str) -> Callable[..., Any]:
    """The factory of a name.

    Raises:
      ValueError: if there is none, with the names there are and the nearest.
    """
    entries = _entries(kind)
    if not isinstance(name, str) or name not in entries:
        raise ValueError(
            f"{path}: unknown {kind} {name!r}; choose one of {', '.join(entries)}{suggest(name, entries)}"
        )
    return entries[name]


def suggest(word: Any, known: Iterable[str]) -> str:
    """'; did you mean X?' when something known is near, else nothing."""
    near = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def json_schema(kind: str, name: str) -> dict[str, Any]:
    """The JSON Schema of an entry's options, for editors and documentation."""
    schema, nested = _schema(lookup(kind, name, path=kind))
    fields: dict[str, Any] = {}
    for key, info in schema.model_fields.items():
        fields[key] = (
            (str | dict | list, _resolve_default(nested[key], info.default))
            if key in nested
            else (_without_arrays(info.annotation), info)
        )
    return pydantic.create_model(name, **fields).model_json_schema()


def default_text(kind: str, name: str, option: str) -> str | None:
    """An option's default as a person writes it; None when the option is required."""
    schema, nested = _schema(lookup(kind, name, path=kind))
    field = schema.model_fields[option]
    if field.is_required():
        return None
    if option in nested:
        spec = _resolve_default(nested[option], field.default)
        if isinstance(spec, list):
            return f"[{', '.join(each['name'] for each in spec)}]"
        return spec["name"] if isinstance(spec, Mapping) else str(spec)
    return str(field.default)


def clock_of(name: str) -> Literal["rounds", "events", "scheduler"]:
    """What an algorithm runs by: rounds, in cohorts too; events; or the scheduler of a server."""
    if name in ALGORITHMS:
        return "rounds"
    return "events" if name in ASYNCHRONOUS else "scheduler"


def _entries(kind: str) -> Mapping[str, Callable[..., Any]]:
    if kind not in REGISTRY:
        raise ValueError(
            f"unknown kind {kind!r}; choose one of {', '.join(REGISTRY)}{suggest(kind, REGISTRY)}"
        )
    return REGISTRY[kind]


@cache
def _schema(
    factory: Callable[..., Any], hidden: frozenset[str] = frozenset()
) -> tuple[type[pydantic.BaseModel], dict[str, str]]:
    """A pydantic model of a factory's arguments but those hidden, and which of them are specs of what kind."""
    fields: dict[str, Any] = {}
    nested: dict[str, str] = {}
    for parameter in inspect.signature(factory, eval_str=True).parameters.values():
        if parameter.name in hidden:
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        annotation = parameter.annotation
        inner_kind = _nested_kind(annotation)
        if inner_kind is not None:
            nested[parameter.name] = inner_kind
            annotation = Any
        fields[parameter.name] = (_plain(annotation), default)
    config = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
    return pydantic.create_model(factory.__name__, __config__=config, **fields), nested


def _nested_kind(annotation: Any) -> str | None:
    for alias, kind in _NESTED:
        several = types.GenericAlias(tuple, (alias, ...))
        if annotation in (alias, several):
            return kind
    return None


def _resolve_nested(kind: str, value: Any, path: str) -> Any:
    """One spec, or a list of them; objects pass, as do numbers where they are what is described."""
    if kind == "speeds" and not isinstance(value, str | Mapping):
        return value
    if _several(value):
        several = [f"{path}[{i}]" for i in range(len(value))]
        return [_resolve_one(kind, each, where) for each, where in zip(value, several, strict=True)]
    return _resolve_one(kind, value, path)


def _resolve_one(kind: str, value: Any, path: str) -> Any:
    plain = value is None or isinstance(value, bool | int | float) or _several(value)
    if not (plain or isinstance(value, str | Mapping)):
        return value
    return resolve(kind, value, path=path, given=("n",) if kind == "topology" else ())


def _resolve_default(kind: str, value: Any) -> Any:
    if _several(value):
        return [_default_spec(kind, each) for each in value]
    return _default_spec(kind, value)


def _several(value: Any) -> bool:
    """Whether these are several specs; a record of functions is a tuple, but one thing."""
    return isinstance(value, list) or type(value) is tuple


def _build_nested(kind: str, value: Any) -> Any:
    if _several(value):
        return tuple(_build_nested(kind, each) for each in value)
    if not isinstance(value, Mapping):
        return value
    return (lambda n: build(kind, value, n=n)) if kind == "topology" else build(kind, value)


def _plain(annotation: Any) -> Any:
    """`Scalar` (float or traced array) is a float in a config."""
    if annotation == Scalar:
        return float
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = typing.get_args(annotation)
        if set(typing.get_args(Scalar)) <= set(members):
            return float | None if type(None) in members else float
    return annotation


def _without_arrays(annotation: Any) -> Any:
    """What JSON can say of an option that may be an array in Python."""
    members = typing.get_args(annotation)
    if np.ndarray not in members:
        return annotation
    return typing.Union[tuple(member for member in members if member is not np.ndarray)]  # noqa: UP007


def _default_spec(kind: str, value: Any) -> Any:
    """The spec of a default that was written as a call in a signature, such as `weights=metropolis()`."""
    if value is ... or value is None or isinstance(value, str | Mapping):
        return value
    name = next((maker for maker in _makers(value) if maker in REGISTRY[kind]), None)
    return value if name is None else _resolve_nested(kind, name, kind)


def _makers(value: Any) -> Iterator[str]:
    """The factories that made the functions of a record; those of records within it come in their place."""
    if isinstance(value, tuple):
        for each in value:
            yield from _makers(each)
    else:
        yield getattr(value, "__qualname__", "").split(".")[0].removeprefix("_")


def _explain(error: pydantic.ValidationError, path: str) -> str:
    """The first complaint in our words: dotted path, what was wrong, what was given."""
    first = error.errors()[0]
    where = ".".join([path, *(str(part) for part in first["loc"][:1])])
    if first["type"] == "missing":
        return f"{where}: is required"
    message = first["msg"][:1].lower() + first["msg"][1:]
    return f"{where}: {message}, given {first['input']!r}"
