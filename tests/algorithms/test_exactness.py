"""Who reaches the optimum on heterogeneous data with a constant step size, and where the others stand still.

Ten nodes on a ring with weights 1/3, least squares in five dimensions whose node optima lie far apart, float64,
full gradients, all nodes from zero.
"""

import functools

import numpy as np
import pytest

from dlax import theory
from dlax import topology as tp
from dlax.algorithms import (
    dadam,
    decentlam,
    decentralized_amsgrad,
    dfedavg,
    dmsgd,
    dsgd,
    exact_diffusion,
    extra,
    gossip_pga,
    gradient_tracking,
    k_gt,
    led,
    momentum_tracking,
    nids,
    push_diging,
    qg_dsgdm,
    sgp,
    slowmo,
)
from dlax.optimizers import inverse_sqrt
from dlax.problems import least_squares
from dlax.simulate import simulate

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, DIM, ROUNDS = 10, 5, 3000
PROBLEM = least_squares(N, dim=DIM, samples=8, heterogeneity=2.0, seed=2)
OPTIMUM = PROBLEM.optimum["x"]
DATA, TARGET = PROBLEM.local["A"], PROBLEM.local["b"]
HESSIANS = np.einsum("nsi,nsj->nij", DATA, DATA) / DATA.shape[1]
CONSTANTS = np.einsum("nsi,ns->ni", DATA, TARGET) / DATA.shape[1]
LR = 0.3 / np.linalg.eigvalsh(HESSIANS).max()

RING = tp.ring(N)
LAZY = tp.from_matrix((np.eye(N) + RING.dense()) / 2, name="lazy ring")
PEERS = tp.one_peer_exponential(N)


def digraph(arrows):
    """Column-stochastic P on a directed cycle and more: who has more arrows splits into smaller parts."""
    P = np.eye(N) + np.roll(np.eye(N), 1, axis=0)
    for j, i in arrows:
        P[i, j] = 1.0
    return P / P.sum(axis=0)


ARROWS = tp.from_matrix(digraph([(0, 5), (0, 3), (4, 2), (7, 1)]), name="digraph", allow_column=True)
IN_TURNS = tp.from_matrix(
    [digraph([(0, 5)]), digraph([(0, 3), (4, 2), (7, 1)])], name="digraphs in turns", allow_column=True
)


def final(factory, topology=RING, rounds=ROUNDS, **hyper):
    """Node models after all rounds [runs, n, d]."""
    result = simulate(
        factory, PROBLEM, topology, rounds=rounds, eval_every=rounds, precision="float64", hyper=hyper
    )
    return result.params["x"]


def error(x):
    """(1/n) Σᵢ ‖xᵢ − x*‖²."""
    return np.mean(np.sum((x - OPTIMUM) ** 2, axis=-1), axis=-1)


def stands_still(W, lr, rounds=1):
    """Where `rounds` of D-SGD, the last with J for W, stand still [n, d]: one dense linear system."""
    W, J = np.kron(W, np.eye(DIM)), np.kron(np.full((N, N), 1 / N), np.eye(DIM))
    inner = np.eye(N * DIM)
    for i in range(N):
        inner[i * DIM : (i + 1) * DIM, i * DIM : (i + 1) * DIM] -= lr * HESSIANS[i]
    M, c = np.eye(N * DIM), np.zeros(N * DIM)
    for mixing in [W] * (rounds - 1) + [J]:
        M, c = mixing @ inner @ M, mixing @ (inner @ c + lr * CONSTANTS.ravel())
    return np.linalg.solve(np.eye(N * DIM) - M, c).reshape(N, DIM)


def test_the_problem_is_what_it_should_be():
    """Heterogeneous enough that a biased method cannot pass for an exact one."""
    at_optimum = np.einsum("nij,j->ni", HESSIANS, OPTIMUM) - CONSTANTS
    np.testing.assert_allclose(at_optimum.sum(axis=0), 0, atol=1e-12)
    assert np.mean(np.sum(at_optimum**2, axis=1)) > 1
    np.testing.assert_allclose(np.unique(np.round(RING.dense(), 12)), [0, np.round(1 / 3, 12)])


# ------------------------------------------------------------------------------------------------------- exact


EXACT = {
    "extra": (extra, RING, {"lr": LR}),
    "exact diffusion": (exact_diffusion, RING, {"lr": LR}),
    "D2": (functools.partial(exact_diffusion, form="d2"), LAZY, {"lr": LR}),
    "NIDS": (nids, RING, {"lr": LR}),
    "NIDS, c": (nids, LAZY, {"lr": LR, "c": 0.9 / LR}),
    "LED": (led, RING, {"lr": LR / 5}),
    "DIGing": (gradient_tracking, RING, {"lr": LR}),
    "NEXT": (functools.partial(gradient_tracking, order="semi"), RING, {"lr": LR}),
    "NEXT, one-peer": (functools.partial(gradient_tracking, order="semi"), PEERS, {"lr": LR}),
    "Aug-DGM": (functools.partial(gradient_tracking, order="adapt_then_combine"), RING, {"lr": LR}),
    "Aug-DGM, one-peer": (
        functools.partial(gradient_tracking, order="adapt_then_combine"), PEERS, {"lr": LR},
    ),
    "K-GT": (k_gt, RING, {"lr": LR / 5}),
    "K-GT, one-peer": (k_gt, PEERS, {"lr": LR / 5}),
    "momentum tracking": (momentum_tracking, RING, {"lr": LR / 10}),
    "push-DIGing": (push_diging, ARROWS, {"lr": LR / 3}),
    "push-DIGing, in turns": (push_diging, IN_TURNS, {"lr": LR / 3}),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_exact_methods_reach_the_optimum(name):
    factory, topology, hyper = EXACT[name]
    assert error(final(factory, topology, **hyper)).max() < 1e-18


# -------------------------------------------------------------------------------------------------- not exact


def predicted(lr, **options):
    return theory.dsgd(PROBLEM, RING, lr=lr, **options).limit.reshape(N, DIM)


def test_dsgd_stands_still_at_its_bias():
    x = final(dsgd, rounds=6000, lr=[LR, LR / 10])
    for models, lr in zip(x, [LR, LR / 10], strict=True):
        np.testing.assert_allclose(models, predicted(lr), atol=1e-9, rtol=0)
    large, small = error(x)
    assert large > 0.1 and 20 < large / small < 100  # of order lr²


@pytest.mark.parametrize(
    ("factory", "hyper", "want"),
    [
        (dmsgd, {"lr": LR / 10, "momentum": 0.9}, LR),
        (decentlam, {"lr": LR / 10, "momentum": 0.9}, LR / 10),
        (qg_dsgdm, {"lr": LR / 10, "momentum": 0.9, "decay": 0.9}, LR / 10),
        (
            functools.partial(qg_dsgdm, nesterov=True), {"lr": LR / 10, "momentum": 0.5, "decay": 0.9},
            1.5 * LR / 10,
        ),
    ],
    ids=["dmsgd", "decentlam", "qg_dsgdm", "qg_dsgdm nesterov"],
)  # fmt: skip
def test_momentum_stands_still_where_dsgd_does_at_another_step_size(factory, hyper, want):
    x = final(factory, rounds=6000, **hyper)[0]
    np.testing.assert_allclose(x, predicted(want), atol=1e-9, rtol=0)
    assert error(x) == pytest.approx(error(predicted(want)), rel=1e-6) and error(x) > 1e-3


def test_momentum_inflates_the_bias_and_decentlam_does_not():
    assert error(predicted(LR)) > 20 * error(predicted(LR / 10))


def test_local_steps_stand_still_at_their_drift():
    """Which grows with K, here more slowly than the bias of as many times the step size."""
    x = final(functools.partial(dfedavg, local_steps=5), lr=LR / 5)[0]
    np.testing.assert_allclose(x, predicted(LR / 5, local_steps=5), atol=1e-9, rtol=0)
    assert error(predicted(LR / 5)) < error(x) < error(predicted(LR))


@pytest.mark.parametrize(
    ("factory", "hyper"), [(gossip_pga, {}), (slowmo, {"slow_momentum": 0.5})], ids=["gossip_pga", "slowmo"]
)
def test_periodic_averages_stand_still_at_a_smaller_bias(factory, hyper):
    """Where one period leads back to its start; slow momentum vanishes there, so it does not move the point."""
    x = final(functools.partial(factory, period=6), lr=LR, **hyper)[0]
    want = stands_still(RING.dense(), LR, rounds=6)
    np.testing.assert_allclose(x, want, atol=1e-9, rtol=0)
    assert 1e-5 < error(x) < error(predicted(LR)) / 10


# --------------------------------------------------------------------------------------------------- directed


def pushed(P, lr):
    """Where SGP stands still [n, d]: X = P (X − lr G(X / w)) with w the Perron vector of P, summing to n."""
    values, vectors = np.linalg.eig(P)
    w = np.real(vectors[:, np.argmax(values.real)])
    w *= N / w.sum()
    eye = np.eye(N * DIM)
    mix, inner = np.kron(P, np.eye(DIM)), eye.copy()
    for i in range(N):
        inner[i * DIM : (i + 1) * DIM, i * DIM : (i + 1) * DIM] -= lr * HESSIANS[i] / w[i]
    x = np.linalg.solve(eye - mix @ inner, lr * mix @ CONSTANTS.ravel())
    return x.reshape(N, DIM) / w[:, None]


def test_sgp_stands_still_at_a_bias_that_shrinks_with_the_step_size():
    P = ARROWS.dense()
    assert np.ptp(P.sum(axis=1)) > 0.5
    x = final(sgp, ARROWS, rounds=6000, lr=[LR, LR / 10])
    for models, lr in zip(x, [LR, LR / 10], strict=True):
        np.testing.assert_allclose(models, pushed(P, lr), atol=1e-9, rtol=0)
    large, small, tiny = error(np.stack([*x, pushed(P, LR / 100)]))
    assert large > 1e-3 and 20 < large / small < 120 and 80 < small / tiny < 120


def test_plain_dsgd_over_a_digraph_tends_to_another_optimum():
    """Of the sum weighted by the left Perron vector, however small the step."""
    R = ARROWS.dense().T
    values, vectors = np.linalg.eig(R.T)
    weights = np.real(vectors[:, np.argmax(values.real)])
    weights /= weights.sum()
    other = np.linalg.solve(np.einsum("n,nij->ij", weights, HESSIANS), weights @ CONSTANTS)
    x = theory.dsgd(PROBLEM, tp.from_matrix(R), lr=LR / 1e4).limit.reshape(N, DIM)
    assert np.abs(x - other).max() < 1e-3 < np.abs(other - OPTIMUM).max() / 10


# --------------------------------------------------------------------------------------------------- adaptive


def test_scaling_by_ones_own_gradients_leads_astray_and_an_agreed_scale_does_not():
    """Step sizes 0.1/√t: DAdam settles at a wrong point, decentralised AMSGrad goes on to the optimum."""
    late = []
    for factory in (dadam, decentralized_amsgrad):
        decaying = functools.partial(factory, schedule=inverse_sqrt(rounds=1))
        result = simulate(
            decaying, PROBLEM, RING, rounds=20_000, eval_every=10_000, precision="float64", hyper={"lr": 0.1}
        )
        late.append([row["distance"] for row in result.rows[1:]])
    (before, astray), (earlier, right) = late
    assert astray > 0.99 * before and astray > 0.1
    assert right < earlier / 2 and right < 1e-4 * astray
