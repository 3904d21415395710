"""What holds of every attack in the registry: it runs wherever it may, over seeds at once, and resumes bit for bit."""

import jax
import numpy as np
import pytest

import dlax
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
CASES = []
for attack_name, make in ATTACKS.items():
    for channel_name, made in CHANNELS.items():
        for level in LEVELS:
            try:
                attacked(made, make()._replace(poison=None), level)
            except ValueError:
                continue
            # Of channels that change nothing for the attack, the highest level is enough.
            if channel_name == "robust" or level == "everything":
                CASES.append((attack_name, channel_name, level))


def attack_of(name):
    """The attack without its poison, which quadratics have no samples for."""
    return ATTACKS[name]()._replace(poison=None)


@pytest.mark.parametrize(("name", "channel", "knowledge"), CASES)
def test_it_runs_over_seeds_at_once(name, channel, knowledge):
    result = simulate(
        dsgd, PROBLEM, GRAPH, channel=CHANNELS[channel], attack=attack_of(name), rounds=2, eval_every=1,
        seeds=2, hyper={"lr": 0.1}, byzantine=at(nodes=(1,)), knowledge=knowledge,
    )  # fmt: skip
    params = jax.tree.leaves(result.params)[0]
    assert params.shape[:2] == (2, N)
    broken = name in ("infinity", "nan") and channel != "robust"
    assert bool(result.diverged) == broken
    if channel in ("linear", "robust"):
        assert np.isfinite(params[:, 1]).all() or broken  # what it sends does not come back to it
    if not broken:
        assert np.isfinite(result.rows[-1]["objective"]) and (params[0] != params[1]).any()


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
