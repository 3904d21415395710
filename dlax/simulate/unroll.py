"""A run taken apart into functions of one round, to be traced, differentiated or stepped by hand."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlax import mixing
from dlax.channel import linear
from dlax.simulate.compiled import compute_facts, known_fact, place_arrays
from dlax.simulate.pace import Clock, pace_of
from dlax.simulate.program import Arrays, Hyper, MissingFact, Program, Start, functions
from dlax.simulate.rounds import Ready, check_hyper, check_sizes
from dlax.topology import Topology
from dlax.types import Algorithm, Channel, Problem


class Unrolled(NamedTuple):
    """A run taken apart into functions, to be traced, differentiated or stepped by hand.

    Attributes:
      start: `params [n, ...] -> state`, the algorithm's state at given models.
      params: the models `[n, ...]` that the run starts from.
      step: `(t, state) -> (state, info)`, round t.
    """

    start: Callable[[Any], Any]
    params: Any
    step: Callable[[Any, Any], tuple[Any, dict[str, Any]]]


def unroll(
    algorithm: Algorithm | Callable[..., Algorithm],
    problem: Problem,
    topology: Topology,
    *,
    channel: Channel = linear(),
    seed: int = 0,
    start: Start = "common",
    hyper: Mapping[str, float] | None = None,
) -> Unrolled:
    """Takes a run apart: what `simulate` compiles whole, as functions of one round, in float64.

    Call and use the functions inside `with jax.enable_x64(True)`; `unroll` itself not inside a jax trace.

    Args:
      algorithm: an `Algorithm`, or a factory.
      problem: what the nodes minimise.
      topology: who hears whom; its n must be the problem's.
      channel: how messages travel.
      seed: of the run.
      start: "common" or "independent" first models.
      hyper: traced options of the factory.

    Returns:
      The functions of the run.

    Raises:
      ValueError: if sizes do not fit, or the algorithm refuses the topology.
    """
    check_sizes(problem, topology)
    if hyper:
        check_hyper(algorithm, hyper)
    plan, tables = mixing.plan(topology, dtype=np.float64)
    with jax.enable_x64(True):
        arrays = place_arrays(problem, tables, None, pace_of(Clock(), problem.n)[1], np.float64)
        program = Program(
            build=Ready(algorithm, channel),
            problem=functions(problem),
            plan=plan,
            topology=topology.name,
            properties=topology.properties,
            execution="vmap",
            start=start,
        )
        key = jax.random.key(seed)
        values = {name: jnp.asarray(value, np.float64) for name, value in (hyper or {}).items()}
        names: list[str] = []
        while True:  # as in `_with_facts`
            arrays = arrays._replace(facts=compute_facts(names, topology, np.float64))
            run = _unrolled(program, key, values, arrays)
            try:
                jax.eval_shape(lambda params, run=run: run.step(0, run.start(params)), run.params)
                return run
            except MissingFact as missing:
                names.append(known_fact(missing.name))


def _unrolled(program: Program, key: Any, values: Hyper, arrays: Arrays) -> Unrolled:
    return Unrolled(
        start=lambda params: program.begin(params, key, values, arrays),
        params=program.first_params(key, arrays),
        step=lambda t, state: program.step(jnp.int32(t), state, key, values, arrays),
    )
