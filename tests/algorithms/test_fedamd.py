"""FedAMD: the loop over clients, exactness, what anchors and miners may touch, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dlax
from dlax import sampling
from dlax import topology as tp
from dlax.algorithms import fedamd, fedavg
from dlax.channel import choco
from dlax.compress import message_bits, top_k
from dlax.problems import least_squares, quadratic
from dlax.simulate import simulate
from dlax.simulate.streams import round_key, stream

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, S, K, LR, BATCH = 8, 3, 4, 0.02, 5
PROBLEM = least_squares(N, dim=3, samples=20, batch_size=BATCH, heterogeneity=2.0)
A, B = PROBLEM.local["A"], PROBLEM.local["b"]


def full(i, x):
    return A[i].T @ (A[i] @ x - B[i]) / len(B[i])


def sampled(i, x, key):
    rows = np.asarray(jax.random.randint(jax.random.fold_in(stream(key, "data"), i), (BATCH,), 0, 20))
    return A[i][rows].T @ (A[i][rows] @ x - B[i][rows]) / BATCH


def loop(rounds, *, anchors=0.4, period=None, local_steps=K, server_lr=1.0):
    """From the documented key streams, client by client; x, the kept gradients, and who was an anchor."""
    x = np.zeros(3)
    v = np.array([full(i, x) for i in range(N)])
    roles = []
    with jax.enable_x64(True):
        for t in range(rounds):
            key = round_key(jax.random.key(0), jnp.int32(t))
            clients = np.asarray(sampling.subset(stream(key, "graph"), N, S))
            keys = jax.random.split(stream(key, "algorithm"), local_steps + 1)
            if period is None:
                is_anchor = np.asarray(jax.random.uniform(keys[-1], (S,), np.float32)) < anchors
            else:
                is_anchor = np.full(S, t % period == 0)
            g, walks = v.mean(axis=0), []
            new = v.copy()
            for i, anchor in zip(clients, is_anchor, strict=True):
                if anchor:
                    new[i] = full(i, x)
                    continue
                before, y, d = x, x - LR * g, g
                for k in range(1, local_steps):
                    d = d + sampled(i, y, keys[k]) - sampled(i, before, keys[k])
                    before, y = y, y - LR * d
                walks.append(x - y)
            v = new
            if walks:
                x = x - server_lr * np.mean(walks, axis=0)
            roles.append(dict(zip(clients.tolist(), is_anchor.tolist(), strict=True)))
    return x, v, roles


def run(algorithm, rounds=9, **options):
    given = {"eval_every": rounds, "precision": "float64"} | options
    return simulate(algorithm, PROBLEM, cohort=sampling.uniform(size=S), rounds=rounds, **given)


@pytest.mark.parametrize("options", [{"anchors": 0.4}, {"period": 3}, {"anchors": 0.5, "server_lr": 0.5}])
def test_a_run_is_the_loop(options):
    x, _, roles = loop(9, **options)
    assert {True, False} == {role for round in roles for role in round.values()}
    result = run(fedamd(LR, local_steps=K, **options))
    np.testing.assert_allclose(result.params["x"][0, 0], x, atol=1e-12)
    sent = 3 * 64 + (3 * 64 + 3 * 64 + 64) + 64  # one message and a flag up; model, bullseye and share down
    assert result.rows[-1]["bits_total"] == 9 * S * sent


def test_anchors_move_nothing_and_miners_without_steps_take_the_whole_gradient():
    still = run(fedamd(LR, local_steps=K, anchors=1.0), rounds=3)
    assert (still.params["x"] == 0).all()
    one = simulate(
        fedamd(0.1, anchors=0.0, local_steps=1), PROBLEM, tp.complete(N), rounds=1, eval_every=1,
        precision="float64",
    )  # fmt: skip
    gradient = np.mean([full(i, np.zeros(3)) for i in range(N)], axis=0)
    np.testing.assert_allclose(one.params["x"][0, 0], -0.1 * gradient, atol=1e-14)


def test_with_one_step_the_minibatch_does_not_matter():
    other = least_squares(N, dim=3, samples=20, batch_size=1, heterogeneity=2.0)
    options = {"rounds": 6, "eval_every": 6, "precision": "float64", "cohort": sampling.uniform(size=S)}
    a, b = (simulate(fedamd(LR, local_steps=1), p, **options).params["x"] for p in (PROBLEM, other))
    np.testing.assert_array_equal(a, b)


def test_nodes_that_start_apart_agree_and_send_one_model_and_a_number():
    starts = np.random.default_rng(0).normal(size=(N, 3))
    apart = PROBLEM._replace(starts={"x": starts - starts.mean(axis=0)})  # 0 on average, as the loop starts
    options = {"rounds": 2, "eval_every": 1, "precision": "float64"}
    result = simulate(fedamd(LR, local_steps=1), apart, tp.complete(N), **options)
    loss = np.mean(
        [np.mean(B[i] ** 2) / 2 for i in range(N)]
    )  # at 0: of anchors and miners, on all their data
    assert result.rows[1]["train_loss"] == pytest.approx(loss, rel=1e-12)
    assert result.rows[-1]["consensus"] < 1e-20
    assert [row["bits_node"] for row in result.rows] == [0, 7 * 4 * 64, 2 * 7 * 4 * 64]


def test_of_a_compressed_message_the_same_share_is_paid():
    channel = choco(1.0, compressor=top_k(fraction=0.25))
    row = simulate(
        fedamd(LR, local_steps=1), PROBLEM, tp.complete(N), channel=channel, rounds=1, eval_every=1
    ).rows[-1]
    whole = message_bits(
        top_k(fraction=0.25), tuple(jnp.zeros((N, *d), jnp.float32) for d in ((3,), (3,), ()))
    )
    assert row["bits_node"] == round(7 * whole * 4 / 7)


@pytest.mark.parametrize("options", [{"anchors": 0.3}, {"period": 4}])
def test_it_is_exact_where_fedavg_has_a_floor(options):
    fast = {"rounds": 1500, "eval_every": 1500}
    assert run(fedamd(LR, local_steps=K, **options), **fast).rows[-1]["distance"] < 1e-9
    assert run(fedavg(LR, local_steps=K), **fast).rows[-1]["distance"] > 1e-3


def test_on_networks_the_kept_gradients_are_of_all_samples():
    with jax.numpy_rank_promotion("allow"):  # a network with biases
        problem = dlax.make(
            "problem", "classification", n=10, dataset="digits", model="linear", batch_size=8,
            partition={"name": "dirichlet", "alpha": 0.3, "min_samples": 4},
        )  # fmt: skip
        result = simulate(
            fedamd(0.2, period=4, local_steps=5), problem, cohort=sampling.uniform(size=4), rounds=60,
            eval_every=60,
        )  # fmt: skip
    assert result.rows[-1]["accuracy_merged"] > 0.8


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"fedamd: anchors must be in \[0, 1\], got 1.5"):
        fedamd(anchors=1.5)
    with pytest.raises(ValueError, match="fedamd: period must be at least 2, or null to draw, got 1"):
        fedamd(period=1)
    with pytest.raises(ValueError, match="fedamd: local_steps must be at least 1, got 0"):
        fedamd(local_steps=0)
    with pytest.raises(ValueError, match="gradients on all of a node's data"):
        simulate(fedamd(), quadratic(4)._replace(exact=None), tp.complete(4), rounds=1)
    with pytest.raises(ValueError, match="'fedamd' needs a topology that is complete"):
        simulate(fedamd(), quadratic(4), tp.ring(4), rounds=1)
