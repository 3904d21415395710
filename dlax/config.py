"""Config files: read, overridden, checked against the factories' signatures, resolved, expanded."""

import itertools
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml

from dlax import registry
from dlax.simulate.pace import Barrier, Law
from dlax.simulate.program import Start
from dlax.types import Knowledge

Config = str | Path | Mapping[str, Any]

_SPECS = ("problem", "topology", "channel", "algorithm")
_OPTIONAL = ("topology", "cohort", "scheduler", "speeds", "attack", "byzantine", "faults")
_KINDS = {part: part for part in _SPECS} | {
    "cohort": "sampling",
    "scheduler": "scheduler",
    "speeds": "speeds",
    "attack": "attack",
    "byzantine": "placement",
    "faults": "fault",
}
# Arguments that a run fills in, not options of a spec.
_GIVEN = {
    "problem": ("n",),
    "topology": ("n",),
    "scheduler": ("seconds", "duration", "aggregations"),
    "speeds": ("m", "seed"),
}
# Parts of the compiled program, whose options may be swept by vmap; and their kinds.
TRACED_SPECS = {"algorithm": "algorithm", "channel": "channel", "attack": "attack", "faults": "fault"}


class _Clock(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    gradient: float = pydantic.Field(
        default=1.0, ge=0, allow_inf_nan=False, description="simulated time of one minibatch gradient"
    )
    latency: float = pydantic.Field(
        default=0.0, ge=0, allow_inf_nan=False, description="simulated time until a message arrives"
    )
    bandwidth: float = pydantic.Field(
        default=float("inf"), gt=0, description="bits a node sends per unit of time"
    )
    law: Law = pydantic.Field(default="constant", description="how the time of gradients varies")
    sigma: float = pydantic.Field(
        default=0.5, ge=0, allow_inf_nan=False, description="by how much, of normal and log_normal"
    )
    stragglers: float = pydantic.Field(default=0.0, ge=0, le=1, description="chance of a node to be slow")
    slowdown: float = pydantic.Field(
        default=5.0, gt=0, allow_inf_nan=False, description="how many times as long stragglers take"
    )
    barrier: Barrier = pydantic.Field(default="all", description="whom a node waits for")
    speeds: str | None = pydantic.Field(
        default=None,
        description="a table of each node's time for a gradient, columns node and seconds, and round if it varies",
    )


class Experiment(pydantic.BaseModel):
    """One experiment, whole: what is run is exactly what this holds.

    The four specs are names or mappings with `name`; see `dlax list`. `vmap` and `grid` belong to sweeps.
    """

    # An option that is infinite, such as a fault's `until`, stays so in the config of a run.
    model_config = pydantic.ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    label: str | None = pydantic.Field(default=None, description="how tables and plots call it")
    nodes: int = pydantic.Field(ge=1, description="n, the number of nodes")
    problem: Any = pydantic.Field(description="what the nodes minimise")
    topology: Any = pydantic.Field(default=None, description="who hears whom, with which weights")
    cohort: Any = pydantic.Field(
        default=None, description="in place of a topology: whom a server hears in a round, a sampling"
    )
    scheduler: Any = pydantic.Field(
        default=None, description="in place of a topology: when a server hears whom, in simulated time"
    )
    speeds: Any = pydantic.Field(
        default=None, description="each client's time for a local step; homogeneous if there is a scheduler"
    )
    channel: Any = pydantic.Field(default="linear", description="how messages travel")
    algorithm: Any = pydantic.Field(description="what a node does in a round")
    byzantine: Any = pydantic.Field(default=None, description="which nodes the attack moves, a placement")
    attack: Any = pydantic.Field(default=None, description="what Byzantine nodes do")
    knowledge: Knowledge = pydantic.Field(default="everything", description="what Byzantine nodes know")
    faults: Any = pydantic.Field(
        default=None, description="which nodes and links fail; a list is all of them"
    )
    rounds: int | None = pydantic.Field(default=None, ge=1, description="T, rounds to run")
    duration: float | None = pydantic.Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="simulated time to run, in place of rounds, of asynchronous algorithms and schedulers",
    )
    eval_every: float | None = pydantic.Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="rounds, or simulated time; default a twentieth of the run",
    )
    seeds: int | list[int] = pydantic.Field(default=1, description="how many, or which")
    start: Start = pydantic.Field(default="common", description="one draw for all, or one each")
    participation: float | None = pydantic.Field(default=None, gt=0, le=1, description="chance to take part")
    precision: Literal["float32", "float64"] = "float32"
    execution: Literal["auto", "vmap", "chunks", "map"] = pydantic.Field(
        default="auto", description="nodes' gradients together or one by one"
    )
    clock: _Clock = pydantic.Field(default=_Clock(), description="what a round costs in simulated time")
    vmap: dict[str, list[float]] = pydantic.Field(
        default_factory=dict, description="swept options of one compilation, by dotted path"
    )
    grid: dict[str, list[Any]] = pydantic.Field(
        default_factory=dict, description="swept structure, one run a combination, by dotted path"
    )

    @pydantic.field_validator("seeds")
    @classmethod
    def _some_seeds(cls, value: int | list[int]) -> int | list[int]:
        few = value < 1 if isinstance(value, int) else not value or min(value) < 0
        if isinstance(value, list) and value and max(value) >= 2**31:
            raise ValueError("must be below 2³¹")
        if few:
            raise ValueError("must be at least 1, or a list of seeds that are at least 0")
        if isinstance(value, list) and len(set(value)) != len(value):
            raise ValueError("must not repeat a seed")
        return value


def load(config: Config, overrides: tuple[str, ...] | list[str] = ()) -> dict[str, Any]:
    """Reads a config and applies overrides; nothing is checked yet.

    Args:
      config: path of a YAML file, or its content as a mapping.
      overrides: `dotted.path=value` strings; values are parsed as YAML.

    Returns:
      Plain data.

    Raises:
      ValueError: if the file is missing or is not a YAML mapping, if an override has no `=`, or if the grid
        would discard it.
    """
    if isinstance(config, str | Path):
        path = Path(config)
        if not path.is_file():
            raise ValueError(f"config: there is no file {str(config)!r}")
        try:
            raw = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"config: {path} is not valid YAML: {' '.join(str(error).split())}") from None
    else:
        raw = deepcopy(dict(config))
    if not isinstance(raw, dict):
        raise ValueError(f"config: expected a mapping of options, got {type(raw).__name__}")
    changes = []
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"override {override!r}: write it as dotted.path=value")
        try:
            changes.append((key.strip(), yaml.safe_load(text)))
        except yaml.YAMLError:
            raise ValueError(f"override {override!r}: the value is not valid YAML") from None
    for key, value in _outside_in(changes):
        _set(raw, key, value)
    grid = raw.get("grid")
    for key, _ in changes:
        for path in grid if isinstance(grid, dict) else ():
            if key == path or key.startswith(f"{path}."):
                raise ValueError(f"override {key}: the grid sets {path!r} whole; change grid.{path} instead")
    return raw


def resolve(raw: Mapping[str, Any]) -> Experiment:
    """Checks a config without a grid and fills in every default.

    Raises:
      ValueError: naming the dotted path, the value given and what is allowed.
    """
    known = list(Experiment.model_fields)
    for key in raw:
        if key not in known:
            raise ValueError(
                f"{key}: unknown option, given {raw[key]!r}; a config takes {', '.join(known)}"
                f"{registry.suggest(key, known)}"
            )
    try:
        experiment = Experiment.model_validate(raw)
    except pydantic.ValidationError as error:
        raise ValueError(_explain(error)) from None
    for given, missing in (("byzantine", "attack"), ("attack", "byzantine")):
        if getattr(experiment, given) is not None and getattr(experiment, missing) is None:
            raise ValueError(f"{missing}: is required, since there is {given}")
    places = [part for part in ("topology", "cohort", "scheduler") if getattr(experiment, part) is not None]
    if not places:
        raise ValueError("topology: is required, unless there is a cohort or a scheduler")
    if len(places) > 1:
        first, second = places[:2]
        given = getattr(experiment, first)
        raise ValueError(f"{first}: has no place beside {second}, given {given!r}; leave one out")
    if experiment.topology is None:
        _check_server(experiment, places[0])
    if experiment.scheduler is not None and experiment.speeds is None:
        experiment.speeds = "homogeneous"
    if experiment.scheduler is None and experiment.speeds is not None:
        raise ValueError(
            f"speeds: are of a scheduler's clients, given {experiment.speeds!r}; a table of nodes' speeds goes to "
            "clock.speeds"
        )
    for part, kind in _KINDS.items():
        spec = getattr(experiment, part)
        if spec is None and part in _OPTIONAL:
            continue
        if part == "faults" and isinstance(spec, list):
            spec = {"name": "together", "faults": spec}
        setattr(experiment, part, registry.resolve(kind, spec, path=part, given=_GIVEN.get(part, ())))
    for path in experiment.vmap:
        _check_vmap(experiment, path)
    _check_clock(experiment)
    if experiment.label is None:
        where = experiment.topology or experiment.cohort or experiment.scheduler
        experiment.label = f"{experiment.algorithm['name']}, {where['name']}"
    return experiment


def expand(raw: Mapping[str, Any]) -> list[Experiment]:
    """The experiments of a sweep: one a combination of the grid, checked before anything runs.

    Raises:
      ValueError: as `resolve`, naming the combination.
    """
    grid = raw.get("grid") or {}
    if not isinstance(grid, Mapping):
        raise ValueError(f"grid: expected a mapping of dotted paths to lists, got {grid!r}")
    for path, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"grid.{path}: expected a list of at least one value, got {values!r}")
    base = {key: value for key, value in raw.items() if key != "grid"}
    experiments = []
    for combination in itertools.product(*grid.values()):
        cell = deepcopy(base)
        for path, value in _outside_in(list(zip(grid, combination, strict=True))):
            _set(cell, path, deepcopy(value))
        if grid and "label" not in grid:
            cell["label"] = ", ".join(_word(p, v) for p, v in zip(grid, combination, strict=True))
        experiments.append(resolve(cell))
    labels = [experiment.label for experiment in experiments]
    for index, label in enumerate(labels):
        if labels.count(label) > 1:
            experiments[index].label = f"{label} #{labels[: index + 1].count(label)}"
    return experiments


def _check_server(experiment: Experiment, place: str) -> None:
    """What belongs to graphs has no place beside a cohort or a scheduler."""
    usual: dict[str, Any] = {"byzantine": None, "attack": None, "participation": None}
    if place == "scheduler":
        usual |= {"faults": None, "execution": "auto"}
    else:
        usual |= {"duration": None}
    for option, value in usual.items():
        if getattr(experiment, option) != value:
            raise ValueError(
                f"{option}: has no place beside {place}, given {getattr(experiment, option)!r}; leave one out"
            )
    if experiment.start != "common":
        raise ValueError(f"start: a server has one model, so it must be 'common', given {experiment.start!r}")


def _check_clock(experiment: Experiment) -> None:
    """Rounds or a duration, as the algorithm takes it, and how often to evaluate."""
    name, every = experiment.algorithm["name"], experiment.eval_every
    clock = registry.clock_of(name)
    if (clock == "scheduler") != (experiment.scheduler is not None):
        wants = "needs a scheduler" if clock == "scheduler" else "cannot be scheduled; local_training can"
        raise ValueError(f"algorithm: {name} {wants}, given scheduler {experiment.scheduler!r}")
    wanted, unwanted = ("rounds", "duration") if clock == "rounds" else ("duration", "rounds")
    kind = {"rounds": "an algorithm of rounds", "events": "asynchronous", "scheduler": "scheduled"}[clock]
    if getattr(experiment, unwanted) is not None:
        raise ValueError(
            f"{unwanted}: {name} is {kind}, which takes {wanted}, given {getattr(experiment, unwanted)!r}"
        )
    if getattr(experiment, wanted) is None:
        raise ValueError(f"{wanted}: is required; {name} is {kind}")
    if clock != "rounds":
        usual = {
            "participation": None,
            "execution": "auto",
            "byzantine": None,
            "attack": None,
            "faults": None,
        }
        if experiment.channel["name"] != "linear" or experiment.channel["drop"] is not None:
            raise ValueError(f"channel: {kind} algorithms take none, given {experiment.channel!r}")
        for option, value in usual.items():
            if getattr(experiment, option) != value:
                raise ValueError(
                    f"{option}: is of rounds, and {name} is {kind}, given {getattr(experiment, option)!r}"
                )
        if experiment.clock != _Clock():
            raise ValueError(f"clock: is of rounds; {name} has times of its own")
        assert experiment.duration is not None
        experiment.eval_every = experiment.duration / 20 if every is None else every
        return
    assert experiment.rounds is not None
    if every is not None and every != int(every):
        raise ValueError(f"eval_every: must be a whole number of rounds, given {every!r}")
    experiment.eval_every = max(1, experiment.rounds // 20) if every is None else int(every)


def _check_vmap(experiment: Experiment, path: str) -> None:
    part, _, option = path.partition(".")
    values = experiment.vmap[path]
    if part not in TRACED_SPECS:
        raise ValueError(f"vmap.{path}: only options of {', '.join(TRACED_SPECS)} can be traced; use grid")
    spec = getattr(experiment, part)
    if spec is None:
        raise ValueError(f"vmap.{path}: there is no {part}")
    traced = registry.traced_options(TRACED_SPECS[part], spec["name"])
    if option not in traced:
        kind = "is static" if option in spec else "is unknown"
        raise ValueError(
            f"vmap.{path}: {option!r} {kind} for {spec['name']}; traced are {', '.join(traced) or 'none'}"
            f"{registry.suggest(option, traced)}; static options are swept under grid"
        )
    if not values or len(set(values)) != len(values):
        raise ValueError(f"vmap.{path}: expected a list of different values, got {values!r}")


def _outside_in(changes: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Whole specs before their names before their options: a new name drops options, so it must come first."""
    return sorted(changes, key=lambda change: 2 * change[0].count(".") - change[0].endswith(".name"))


def _set(raw: dict[str, Any], path: str, value: Any) -> None:
    """Sets a dotted path; a spec given as a bare name grows into a mapping on the way."""
    *parents, last = path.split(".")
    if parents and parents[0] in ("vmap", "grid"):  # their keys are dotted paths themselves
        parents, last = parents[:1], ".".join([*parents[1:], last])
    here = raw
    for depth, key in enumerate(parents):
        inner = here.get(key)
        if isinstance(inner, str):
            inner = {"name": inner}
        elif inner is None:
            inner = {}
        elif not isinstance(inner, dict):
            raise ValueError(f"{path}: {'.'.join(parents[: depth + 1])} is {inner!r}, which has no options")
        here[key] = inner
        here = inner
    if last == "name" and isinstance(here.get("name"), str) and here["name"] != value:
        here.clear()  # another name takes other options
    here[last] = value


def _word(path: str, value: Any) -> str:
    """A grid value in a label: a spec by its name, anything else with the last part of its path."""
    if isinstance(value, Mapping) and "name" in value:
        rest = [f"{k}={v}" for k, v in value.items() if k != "name" and not isinstance(v, Mapping | list)]
        return " ".join([str(value["name"]), *rest])
    if path in _SPECS or path.endswith(".name"):
        return str(value)
    return f"{path.rpartition('.')[2]}={value}"


def _explain(error: pydantic.ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("int", "list[int]"))
    if first["type"] == "missing":
        return f"{where}: is required"
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown option, given {first['input']!r}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message[:1].lower()}{message[1:]}, given {first['input']!r}"
