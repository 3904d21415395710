"""What holds of every attack in the registry: it runs wherever it may, over seeds, and resumes bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dlax
from dlax import mixing
from dlax.algorithms import dsgd
from dlax.attacks import ATTACKS, at
from dlax.channel import attacked, choco, error_feedback, linear, robust
from dlax.problems import quadratic
from dlax.robust import nna
from dlax.simulate import run_rounds, simulate
from dlax.simulate.rounds import Ready
from dlax.topology import complete, random_regular

pytestmark = pytest.mark.usefixtures("strict_ranks")

N = 6
PROBLEM = quadratic(N, dim=3, noise=0.1)
GRAPH = random_regular(N, degree=4)
CHANNELS = {
    "linear": linear(),
    "robust": robust(rule=nna()),
    "choco": choco(),
    "error_feedback": error_feedback(),
}
LEVELS = ("own", "neighbourhood", "everything")
PLAN, TABLES = mixing.plan(GRAPH)
BYZANTINE = np.arange(N) == 1


def fits(name, channel, level):
    """Over the linear channel with the least that it needs, over the others with all; compressed ones take two."""
    attack = attack_of(name)
    if attack.craft is None or (attack.faces and not CHANNELS[channel].faces):
        return False
    if channel == "linear":
        return level == attack.needs
    return level == "everything" and (channel == "robust" or name in ("replay", "sign_flip"))


def attack_of(name):
    """The attack without its poison, which needs samples."""
    return ATTACKS[name]()._replace(poison=None)


CASES = [
    (name, channel, level)
    for name in ATTACKS
    for channel in CHANNELS
    for level in LEVELS
    if fits(name, channel, level)
]


@pytest.mark.parametrize(("name", "channel", "knowledge"), CASES)
def test_it_runs_over_seeds_at_once(name, channel, knowledge):
    """One message, jitted, under vmap; the memory keeps its shape, and whoever lies keeps a finite state."""
    lying = attacked(CHANNELS[channel], attack_of(name), knowledge)

    def one(key):
        tables = jax.tree.map(jnp.asarray, TABLES)
        network = mixing.network(PLAN, tables, jnp.int32(0), key, key, None)
        network = network._replace(byzantine=jnp.asarray(BYZANTINE))
        message = {"w": jax.random.normal(key, (N, 2, 2)), "c": jax.random.normal(key, (N,))}
        link = lying.open(message, network)
        received, after, bits = lying.mix(link, message, network)
        return received, link, after, bits

    received, before, after, bits = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 2))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), before) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), after
    )
    assert received["w"].shape == (2, N, 2, 2) and bits.shape == (2, N)
    honest = np.concatenate([np.ravel(leaf[:, ~BYZANTINE]) for leaf in jax.tree.leaves(received)])
    assert np.isfinite(honest).all() == (name not in ("infinity", "nan") or channel == "robust")
    assert all(np.isfinite(leaf[:, 1]).all() for leaf in jax.tree.leaves(received))
    assert (received["w"][0] != received["w"][1]).any()


MEMORIES = ["fang_krum", "gaussian", "mimic_heuristic", "replay", "spectral"]


@pytest.mark.parametrize("name", MEMORIES)
def test_it_resumes_bit_for_bit(name):
    options = {
        "rounds": 5, "eval_every": 1, "seeds": [0], "hyper": {"lr": [0.1]}, "byzantine": at(nodes=(1,)),
    }  # fmt: skip
    attack = ATTACKS[name](delay=2) if name == "replay" else ATTACKS[name]()
    build = Ready(dsgd, robust(rule=nna()), attack)
    kept = []

    def stop(snapshot):
        kept.append(snapshot._replace(carry=jax.tree.map(np.array, snapshot.carry)))
        return snapshot.round == 3

    whole = run_rounds(build, PROBLEM, GRAPH, **options)
    run_rounds(build, PROBLEM, GRAPH, **options, on_block=stop)

    def resume(carry):
        return kept[-1]._replace(carry=jax.tree.map(jax.numpy.asarray, kept[-1].carry))

    rest = run_rounds(build, PROBLEM, GRAPH, **options, resume=resume)
    np.testing.assert_array_equal(jax.tree.leaves(whole.params)[0], jax.tree.leaves(rest.params)[0])
    assert whole.rows[-1]["objective"] == rest.rows[-1]["objective"]


def test_stronger_attacks_hurt_more_and_a_rule_helps():
    def end(attack, channel):
        options = {"rounds": 40, "eval_every": 40, "hyper": {"lr": 0.1}, "byzantine": at(nodes=(0,))}
        return simulate(dsgd, PROBLEM, complete(N), channel=channel, attack=attack, **options).rows[-1]

    averaged, rescued = (
        end(ATTACKS["optimised_foe"](), linear()),
        end(ATTACKS["optimised_foe"](), robust(rule=nna())),
    )
    assert averaged["diverged"] >= 0 or averaged["objective"] > 1e3 * rescued["objective"]
    assert rescued["diverged"] == -1


CONFIG = {
    "nodes": 6,
    "problem": {"name": "quadratic", "dim": 3},
    "topology": "complete",
    "algorithm": "dsgd",
    "rounds": 2,
    "byzantine": {"name": "last", "count": 1},
    "attack": "alie",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"byzantine": None}, "byzantine: is required, since there is attack"),
        ({"attack": None}, "attack: is required, since there is byzantine"),
        ({"attack": "aile"}, r"attack: unknown attack 'aile'; .*did you mean 'alie'\?"),
        ({"byzantine": {"name": "lst", "count": 1}}, r"unknown placement 'lst'; .*did you mean 'last'\?"),
        ({"attack": {"name": "alie", "factr": 1}}, r"attack\.factr: .*did you mean 'factor'\?"),
        ({"attack": "dissensus", "channel": "choco"}, "tells each receiver another thing"),
        ({"attack": "mimic", "knowledge": "own"}, "this attack needs 'everything', got 'own'"),
        ({"attack": "label_flip"}, "poisons labelled samples"),
    ],
)
def test_configs_that_do_not_fit_together(change, message):
    with pytest.raises(ValueError, match=message):
        dlax.run(CONFIG | change)


def test_the_strength_of_an_attack_is_swept_in_one_compilation():
    result = dlax.run(CONFIG | {"attack": "foe", "vmap": {"attack.factor": [0.1, 3.0]}})
    low, high = (row["objective"] for row in result.rows[-2:])
    assert low < high
