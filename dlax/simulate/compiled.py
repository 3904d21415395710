"""What a run is compiled to, kept by identity and shapes; and its arrays, kept on the device."""

import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlax.simulate.program import Arrays, Carry, MissingArrays, MissingFact, Program
from dlax.topology import Topology, edge_table
from dlax.types import Problem


@dataclass
class Compiled:
    """A run's compiled functions, and the seconds it took to make them: 0 if they were found."""

    init: Callable[..., Carry]
    block: Callable[..., Any]
    seconds: float


class Fits(Exception):  # noqa: N818 - an answer, not an error
    """Raised in place of compiling a program that was only to be traced: everything fits together."""


@dataclass
class _Cache:
    """Compiled programs by identity and shapes, least recently used out first."""

    size: int = 16
    entries: OrderedDict[Any, Compiled] = field(default_factory=OrderedDict)


_CACHE = _Cache()


_FROM_TO = (jax.ShapeDtypeStruct((), jnp.int32),) * 2


def compile_program(
    program: Any,
    several: bool,
    keys: Any,
    values: Any,
    arrays: Arrays,
    *,
    inputs: tuple[Any, ...] = _FROM_TO,
    by_run: tuple[bool, ...] = (False, False),
    dry: bool = False,
) -> Compiled:
    """Compiles init and block ahead of time, or finds them; `seconds` is 0 when found.

    Args:
      program: the static identity of the run, with `init(key, hyper, arrays)` and `block(*inputs, carry, key, hyper,
        arrays)`.
      several: whether there are several runs, over which both are mapped.
      keys: of the runs.
      values: their traced options.
      arrays: what a run reads.
      inputs: what a block takes before its carry, or like it; two rounds by default.
      by_run: of each input, whether it leads with the runs.
      dry: only trace them.

    Returns:
      The compiled functions.

    Raises:
      Fits: in place of compiling, if `dry`.
    """
    identity, found = _find(program, several, (inputs, keys, values, arrays))
    if found is not None:
        if dry:
            raise Fits
        return found
    begin = time.perf_counter()
    init, block = program.init, program.block
    if dry:  # one run, and of rounds one alone: half a second less
        if several:
            keys, values = keys[0], {name: each[0] for name, each in values.items()}
            inputs = tuple(
                jax.tree.map(lambda array: array[0], each) if by else each
                for each, by in zip(inputs, by_run, strict=True)
            )
        inputs = (inputs[0], None) if inputs is _FROM_TO else inputs
        jax.eval_shape(block, *inputs, jax.eval_shape(init, keys, values, arrays), keys, values, arrays)
        raise Fits
    if several:
        init = jax.vmap(init, in_axes=(0, 0, None))
        block = jax.vmap(block, in_axes=(*(0 if each else None for each in by_run), 0, 0, 0, None))
    lowered_init = jax.jit(init).lower(keys, values, arrays)
    # Init runs once, so it is compiled quickly rather than well (drawing normals costs seconds otherwise), and
    # beside the block.
    with ThreadPoolExecutor(max_workers=1) as pool:
        options: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}
        compiling = pool.submit(lowered_init.compile, options)
        lowered = jax.jit(block, donate_argnums=len(inputs)).lower(
            *inputs, lowered_init.out_info, keys, values, arrays
        )
        compiled_block = lowered.compile()
        compiled_init = compiling.result()
    made = Compiled(compiled_init, compiled_block, time.perf_counter() - begin)
    _CACHE.entries[identity] = made
    while len(_CACHE.entries) > _CACHE.size:  # forgets what was used least recently
        _CACHE.entries.popitem(last=False)
    return made


def _find(program: Any, several: bool, arguments: Any) -> tuple[Any, Compiled | None]:
    """The identity of a program on arguments of these shapes, and what was compiled for it before."""
    leaves, structure = jax.tree.flatten(arguments)
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
    identity = (program, several, shapes, structure, jax.default_backend())
    if identity not in _CACHE.entries:
        return identity, None
    _CACHE.entries.move_to_end(identity)
    found = _CACHE.entries[identity]
    return identity, Compiled(found.init, found.block, 0.0)


def _above_minus_a_third(topology: Topology) -> float:
    """The least eigenvalue; refuses one at or below −1/3, where D2's recursion is not stable."""
    least = topology.least_eigenvalue
    if least <= -1 / 3 + 1e-9:
        raise ValueError(
            f"the algorithm needs weights whose least eigenvalue is above -1/3; {topology.name!r} has "
            f"{least:.6g} (lazy weights, (I + W)/2, are always above)"
        )
    return least


FACTS: dict[str, Callable[[Topology], Any]] = {
    "spectral gap": lambda topology: topology.spectral_gap,
    "least eigenvalue": lambda topology: topology.least_eigenvalue,
    "least eigenvalue above -1/3": _above_minus_a_third,  # asking is enough: it raises where it is not
    "second largest eigenvalue": lambda topology: topology.second_largest_eigenvalue,
    "worst gap": lambda topology: topology.worst_gap,
    "edges": edge_table,
}
# Facts that a program's algorithm asked for, given values of these options.
_ASKED: dict[tuple[Program, frozenset[str]], tuple[str, ...]] = {}


def with_facts(
    program: Program,
    topology: Topology,
    several: bool,
    keys: Any,
    values: Any,
    arrays: Arrays,
    *,
    dry: bool = False,
) -> tuple[Compiled, Arrays]:
    """Compiles, or traces; adds what algorithm and faults ask of the topology, which can be dear, and only that."""
    asker = (program, frozenset(values))
    names = list(_ASKED.get(asker, ()))
    dtype = arrays.clock["gradient"].dtype.type
    while True:
        arrays = arrays._replace(facts=compute_facts(names, topology, dtype))
        try:
            return compile_program(program, several, keys, values, arrays, dry=dry), arrays
        except MissingArrays as missing:
            prepared = missing.prepare(topology)
            arrays = arrays._replace(faults=jax.tree.map(lambda leaf: _place(leaf, dtype), prepared))
        except MissingFact as missing:
            names.append(known_fact(missing.name))
            if len(_ASKED) >= _CACHE.size:
                _ASKED.clear()
            _ASKED[asker] = tuple(names)


def compute_facts(names: Sequence[str], topology: Topology, dtype: Any) -> dict[str, Any]:
    """The facts of these names, as arguments of the compiled run."""
    return {name: jax.tree.map(lambda leaf: _place(leaf, dtype), FACTS[name](topology)) for name in names}


def known_fact(name: str) -> str:
    """The name itself; refuses one that is no fact."""
    if name not in FACTS:
        raise ValueError(f"no fact {name!r} is known of a topology; there are {', '.join(FACTS)}")
    return name


def place_arrays(
    problem: Problem, tables: Any, participation: float | None, clock: dict[str, Any], dtype: type
) -> Arrays:
    """Everything a run reads, on the device."""

    def place(leaf: Any) -> jax.Array:
        return _place(leaf, dtype)

    return Arrays(
        local=jax.tree.map(place, problem.local),
        shared=jax.tree.map(place, problem.shared),
        held=jax.tree.map(place, problem.held),
        tables=jax.tree.map(place, tables),
        optimum=None if problem.optimum is None else jax.tree.map(place, problem.optimum),
        minimum=None if problem.minimum is None else place(np.float64(problem.minimum)),
        clock={name: place(np.float64(value)) for name, value in clock.items()},
        participation=None if participation is None else place(np.float64(participation)),
        starts=None if problem.starts is None else jax.tree.map(place, problem.starts),
        facts={},
    )


_PLACED: dict[tuple[int, type], jax.Array] = {}  # large host arrays on the device, while the host's live
_LARGE = 1_000_000  # bytes


def _place(leaf: Any, dtype: type) -> jax.Array:
    """Moves an array to the device, once: a data set takes longer to move than a short run takes."""
    leaf = np.asarray(leaf)
    placed = _PLACED.get((id(leaf), dtype))
    if placed is not None:
        return placed
    cast = leaf.astype(dtype, copy=False) if np.issubdtype(leaf.dtype, np.floating) else leaf
    placed = jnp.asarray(cast)
    if leaf.nbytes >= _LARGE and not leaf.flags.writeable:  # what can change in place must not be kept
        key = (id(leaf), dtype)
        _PLACED[key] = placed
        weakref.finalize(leaf, _PLACED.pop, key, None)
    return placed
