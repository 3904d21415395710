"""Config in, results out: reads, checks and resolves a config; runs it; sweeps a grid of them."""

import itertools
import json
import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import jax
import pydantic
import yaml

from dlax import registry, rundir
from dlax.data import cache_dir
from dlax.results import Result
from dlax.simulate import Clock, Snapshot, run_rounds
from dlax.simulate.program import Hyper, Start
from dlax.topology import Topology
from dlax.types import Algorithm, Channel, Problem

Config = str | Path | Mapping[str, Any]
OnBlock = Callable[[Snapshot], bool | None]

_SPECS = ("problem", "topology", "channel", "algorithm")
_TRACED_SPECS = ("algorithm", "channel")  # parts of the compiled program whose options may be swept by vmap


class _Clock(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    gradient: float = pydantic.Field(
        default=1.0, ge=0, description="simulated time of one minibatch gradient"
    )
    latency: float = pydantic.Field(default=0.0, ge=0, description="simulated time until a message arrives")
    bandwidth: float = pydantic.Field(
        default=float("inf"), gt=0, description="bits a node sends per unit of time"
    )


class Experiment(pydantic.BaseModel):
    """One experiment, whole: what is run is exactly what this holds.

    The four specs are names or mappings with `name`; see `dlax list`. `vmap` and `grid` belong to sweeps.
    """

    model_config = pydantic.ConfigDict(extra="forbid")

    label: str | None = pydantic.Field(default=None, description="how tables and plots call it")
    nodes: int = pydantic.Field(ge=1, description="n, the number of nodes")
    problem: Any = pydantic.Field(description="what the nodes minimise")
    topology: Any = pydantic.Field(description="who hears whom, with which weights")
    channel: Any = pydantic.Field(default="linear", description="how messages travel")
    algorithm: Any = pydantic.Field(description="what a node does in a round")
    rounds: int = pydantic.Field(ge=1, description="T, rounds to run")
    eval_every: int | None = pydantic.Field(default=None, ge=1, description="rounds; default T / 20")
    seeds: int | list[int] = pydantic.Field(default=1, description="how many, or which")
    start: Start = pydantic.Field(default="common", description="one draw for all, or one each")
    participation: float | None = pydantic.Field(default=None, gt=0, le=1, description="chance to take part")
    precision: Literal["float32", "float64"] = "float32"
    execution: Literal["auto", "vmap", "map"] = pydantic.Field(
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
      ValueError: if the file is missing or is not a YAML mapping, or an override has no `=`.
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
    for part in _SPECS:
        given = ("n",) if part in ("problem", "topology") else ()
        setattr(experiment, part, registry.resolve(part, getattr(experiment, part), path=part, given=given))
    for path in experiment.vmap:
        _check_vmap(experiment, path)
    if experiment.eval_every is None:
        experiment.eval_every = max(1, experiment.rounds // 20)
    if experiment.label is None:
        experiment.label = f"{experiment.algorithm['name']}, {experiment.topology['name']}"
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


def run(
    config: Config | Experiment,
    overrides: tuple[str, ...] | list[str] = (),
    *,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    checkpoint_seconds: float = 60.0,
    on_block: OnBlock | None = None,
) -> Result:
    """Runs one experiment: all seeds and `vmap` values as one compiled program.

    Args:
      config: path of a YAML file, its content as a mapping, or a resolved experiment.
      overrides: `dotted.path=value` strings.
      out: run directory for config, metrics, checkpoints; None keeps everything in memory.
      resume: go on from the directory's checkpoint, bit for bit; the config must be the same, but for a larger
        `rounds`.
      overwrite: discard what `out` holds.
      checkpoint_seconds: wall clock between checkpoints; there is always one at the end and on interruption.
      on_block: called after every block with the snapshot; True stops the run there.

    Returns:
      The result.

    Raises:
      ValueError: on any mistake in the config, before the run; on a run directory that is in use.
      KeyboardInterrupt: after an interrupt, once the block is done and the checkpoint written.
    """
    experiment = config if isinstance(config, Experiment) else resolve(load(config, overrides))
    if experiment.grid:
        raise ValueError("grid: a config with a grid is a sweep; use dlax.sweep, or `dlax sweep`")
    _use_compilation_cache()
    pieces = _build(experiment)
    plain = experiment.model_dump(mode="json")
    if out is None:
        result = _simulate(experiment, pieces, on_block=on_block)
        return _finish(result, plain)
    with rundir.RunDirectory(
        Path(out), plain, resume=resume, overwrite=overwrite, checkpoint_seconds=checkpoint_seconds
    ) as directory:
        if directory.finished:
            return Result.load(out)

        def after_block(snapshot: Snapshot) -> bool:
            stop = bool(on_block and on_block(snapshot))
            return directory.record(snapshot, last=snapshot.round >= experiment.rounds or stop) or stop

        result = _simulate(experiment, pieces, on_block=after_block, resume=directory.restore)
        result = _finish(result, plain)
        directory.finish(result)
    return result


def sweep(
    config: Config,
    overrides: tuple[str, ...] | list[str] = (),
    *,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_start: Callable[[int, int, Experiment], OnBlock | None] | None = None,
) -> list[Result]:
    """Runs every combination of a grid; seeds and `vmap` values share one compilation each.

    Args:
      config: path of a YAML file, or its content as a mapping.
      overrides: `dotted.path=value` strings.
      out: directory with a run directory for each combination and a table of all; None keeps it in memory.
      resume: skip combinations that are done and go on with the others.
      overwrite: discard what `out` holds.
      on_start: called with (index, count, experiment) before each; may return an `on_block`.

    Returns:
      One result a combination, in the order of the grid.

    Raises:
      ValueError: on any mistake in any combination, before the first runs.
    """
    raw = load(config, overrides)
    experiments = expand(raw)
    for experiment in experiments:
        _build(experiment)  # a mistake in the last combination shows before the first runs
    folder = None if out is None else rundir.open_sweep(Path(out), raw, resume=resume, overwrite=overwrite)
    results = []
    for index, experiment in enumerate(experiments):
        on_block = on_start(index, len(experiments), experiment) if on_start else None
        place = None if folder is None else folder / rundir.slug(index, str(experiment.label))
        here = resume and place is not None and place.exists()
        results.append(run(experiment, out=place, resume=here, on_block=on_block))
    if folder is not None:
        rundir.write_table(folder, results)
    return results


@dataclass(frozen=True)
class Recipe:
    """Builds algorithm and channel inside the trace; equal recipes share a compilation.

    Attributes:
      algorithm: resolved spec as JSON, without the options that are traced.
      channel: likewise.
    """

    algorithm: str
    channel: str

    def __call__(self, hyper: Hyper) -> tuple[Algorithm, Channel]:
        """Algorithm and channel with their traced options, named such as "algorithm.lr"."""
        made = []
        for part, text in (("algorithm", self.algorithm), ("channel", self.channel)):
            options = {key.partition(".")[2]: v for key, v in hyper.items() if key.startswith(part + ".")}
            made.append(registry.build(part, {**json.loads(text), **options}))
        return made[0], made[1]


def _build(experiment: Experiment) -> tuple[Recipe, dict[str, list[float]], Problem, Topology]:
    """The pieces of a run; factories' own complaints get the path of their spec."""
    hyper: dict[str, list[float]] = {}
    texts = []
    for part in _TRACED_SPECS:
        spec = getattr(experiment, part)
        static = dict(spec)
        for option in registry.traced_options(part, spec["name"]):
            values = experiment.vmap.get(f"{part}.{option}")
            if values is None and isinstance(spec[option], float):
                values = [spec[option]]
            if values is not None:
                hyper[f"{part}.{option}"] = values
                del static[option]
        for combination in _combinations(part, hyper):
            _with_path(part, lambda: registry.build(part, {**static, **combination}))  # noqa: B023 - called at once
        texts.append(json.dumps(static, sort_keys=True))
    problem = _with_path("problem", lambda: _problem(json.dumps(experiment.problem), experiment.nodes))
    topology = _with_path("topology", lambda: _topology(json.dumps(experiment.topology), experiment.nodes))
    return Recipe(*texts), hyper, problem, topology


def _simulate(
    experiment: Experiment,
    pieces: tuple[Recipe, dict[str, list[float]], Problem, Topology],
    *,
    on_block: OnBlock | None,
    resume: Any = None,
) -> Result:
    recipe, hyper, problem, topology = pieces
    seeds = experiment.seeds
    return run_rounds(
        recipe,
        problem,
        topology,
        rounds=experiment.rounds,
        eval_every=experiment.eval_every or 1,
        seeds=list(range(seeds)) if isinstance(seeds, int) else seeds,
        hyper=hyper,
        swept=list(experiment.vmap),
        start=experiment.start,
        participation=experiment.participation,
        precision=experiment.precision,
        execution=experiment.execution,
        clock=Clock(**experiment.clock.model_dump()),
        label=str(experiment.label),
        on_block=on_block,
        resume=resume,
    )


def _finish(result: Result, plain: dict[str, Any]) -> Result:
    result.config = plain
    result.versions = rundir.versions()
    return result


def _combinations(part: str, hyper: Mapping[str, list[float]]) -> list[dict[str, float]]:
    mine = {key.partition(".")[2]: values for key, values in hyper.items() if key.startswith(part + ".")}
    return [dict(zip(mine, values, strict=True)) for values in itertools.product(*mine.values())]


@lru_cache(maxsize=4)
def _problem(spec: str, nodes: int) -> Problem:
    return registry.build("problem", json.loads(spec), n=nodes)


@lru_cache(maxsize=16)
def _topology(spec: str, nodes: int) -> Topology:
    return registry.build("topology", json.loads(spec), n=nodes)


def _with_path(path: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _check_vmap(experiment: Experiment, path: str) -> None:
    part, _, option = path.partition(".")
    values = experiment.vmap[path]
    if part not in _TRACED_SPECS:
        raise ValueError(
            f"vmap.{path}: only options of {' and '.join(_TRACED_SPECS)} can be traced; use grid"
        )
    spec = getattr(experiment, part)
    traced = registry.traced_options(part, spec["name"])
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


def _use_compilation_cache() -> None:
    """Turns on jax's persistent compilation cache, unless the user has set one or said off."""
    if os.environ.get("DLAX_COMPILATION_CACHE", "on").lower() in ("off", "0", "false"):
        return
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


__all__ = ["Experiment", "Recipe", "expand", "load", "resolve", "run", "sweep"]
