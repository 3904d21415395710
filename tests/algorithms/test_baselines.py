"""The baselines of the rounds clock against plain NumPy loops in float64, and what their docstrings claim."""

import functools

import numpy as np
import pytest
import references_baselines as references
from references import quadratic_gradient

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
from dlax.channel import linear
from dlax.optimizers import OPTIMIZERS, cosine, inverse
from dlax.problems import least_squares, quadratic
from dlax.simulate import simulate
from dlax.tree import message_bits

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, DIM, ROUNDS = 8, 3, 20
START = np.random.default_rng(5).normal(size=(N, DIM))
PROBLEM = quadratic(N, dim=DIM)._replace(starts={"x": START})
GRAD = quadratic_gradient(PROBLEM)
DECAY = inverse(rounds=10)


def push_weights(n, arrows):
    """Column-stochastic P: node j splits what it has evenly between itself and those it sends to."""
    P = np.eye(n)
    for j, i in arrows:
        P[i, j] = 1.0
    return P / P.sum(axis=0)


CIRCLE = [(i, (i + 1) % N) for i in range(N)]
STAR, RING = tp.star(N), tp.ring(N)
PEERS = tp.one_peer_exponential(N)  # directed, doubly stochastic, changes
MIRROR = tp.from_matrix([STAR.dense(), RING.dense()], name="star and ring in turns")  # symmetric, changes
PUSH = tp.from_matrix(push_weights(N, [*CIRCLE, (0, 3), (4, 2), (0, 6)]), name="push", allow_column=True)
TURNS = tp.from_matrix(
    [push_weights(N, [*CIRCLE[:5], (2, 7)]), push_weights(N, [*CIRCLE[5:], (3, 0), (7, 3)])],
    name="push in turns",
    allow_column=True,
)


def run(algorithm, topology, *, problem=PROBLEM, rounds=ROUNDS, **options):
    options = {"precision": "float64", "eval_every": rounds} | options
    return simulate(algorithm, problem, topology, rounds=rounds, **options)


def final(*arguments, **options):
    """Node models of the first run after all rounds [n, d]."""
    return run(*arguments, **options).params["x"][0]


CASES = [
    (extra, STAR, {}, {}),
    (exact_diffusion, STAR, {}, {}),
    (functools.partial(exact_diffusion, form="d2"), STAR, {}, {"d2": True}),
    (nids, STAR, {}, {}),
    (nids, STAR, {"c": 3.0}, {"c": 3.0}),
    (functools.partial(gradient_tracking, order="semi"), PEERS, {}, {"order": "semi"}),
    (
        functools.partial(gradient_tracking, order="adapt_then_combine"), PEERS,
        {}, {"order": "adapt_then_combine"},
    ),
    (functools.partial(k_gt, local_steps=3), PEERS, {"global_lr": 0.8}, {"local_steps": 3, "global_lr": 0.8}),
    (functools.partial(led, local_steps=3), STAR, {}, {"local_steps": 3}),
    (momentum_tracking, PEERS, {"momentum": 0.7}, {"momentum": 0.7}),
    (dmsgd, PEERS, {"momentum": 0.7}, {"momentum": 0.7}),
    (
        functools.partial(dmsgd, order="combine_while_adapt", mix_momentum=True), PEERS,
        {"momentum": 0.7}, {"momentum": 0.7, "order": "combine_while_adapt", "mix_momentum": True},
    ),
    (decentlam, MIRROR, {"momentum": 0.7}, {"momentum": 0.7}),
    (qg_dsgdm, PEERS, {"momentum": 0.7, "decay": 0.6}, {"momentum": 0.7, "decay": 0.6}),
    (
        functools.partial(qg_dsgdm, nesterov=True), PEERS,
        {"momentum": 0.7, "decay": 0.6}, {"momentum": 0.7, "decay": 0.6, "nesterov": True},
    ),
    (functools.partial(gossip_pga, period=3), PEERS, {}, {"period": 3}),
    (
        functools.partial(slowmo, period=3, local_steps=2), PEERS,
        {"slow_momentum": 0.6, "slow_lr": 0.9},
        {"slow_momentum": 0.6, "slow_lr": 0.9, "period": 3, "local_steps": 2},
    ),
    (functools.partial(dfedavg, local_steps=3), PEERS, {"momentum": 0.7}, {"momentum": 0.7, "local_steps": 3}),
    (sgp, TURNS, {}, {}),
    (push_diging, TURNS, {}, {}),
    (dadam, PEERS, {"b1": 0.8, "b2": 0.9, "eps": 1e-3}, {"b1": 0.8, "b2": 0.9, "eps": 1e-3}),
    (
        decentralized_amsgrad, PEERS,
        {"b1": 0.8, "b2": 0.9, "eps": 1e-3}, {"b1": 0.8, "b2": 0.9, "eps": 1e-3},
    ),
]  # fmt: skip


def name_of(factory):
    return getattr(factory, "func", factory).__name__


# What a node sends to each neighbour in a round: models, and single numbers.
SENT = {
    "extra": (1, 0), "exact_diffusion": (1, 0), "nids": (1, 0), "gradient_tracking": (2, 0), "k_gt": (2, 0),
    "led": (1, 0), "momentum_tracking": (2, 0), "dmsgd": (1, 0), "decentlam": (1, 0), "qg_dsgdm": (1, 0),
    "dfedavg": (1, 0), "sgp": (1, 1), "push_diging": (2, 1), "dadam": (1, 0), "decentralized_amsgrad": (2, 0),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: name_of(case[0]))
def test_against_the_loop_and_what_is_sent_is_paid(case):
    """From starts of their own, with a step size that decays, over a graph that changes where it may."""
    factory, topology, hyper, options = case
    name = name_of(factory)
    result = run(functools.partial(factory, schedule=DECAY), topology, hyper={"lr": 0.1, **hyper})
    want = getattr(references, name)(
        GRAD, topology.dense, START, lr=lambda t: 0.1 / (1 + t / 10), rounds=ROUNDS, **options
    )
    np.testing.assert_allclose(result.params["x"][0], want, atol=1e-10, rtol=0)
    assert np.isfinite(want).all() and np.abs(want - START).max() > 0.1
    if name in ("gossip_pga", "slowmo"):
        return  # tested below
    models, numbers = SENT[name]
    models += options.get("mix_momentum", False)
    quiet = 1 if name == "nids" else 0  # its first round is local
    links = sum(np.count_nonzero(topology.dense(t)) - N for t in range(quiet, ROUNDS))
    assert result.rows[-1]["bits_total"] == links * 64 * (models * DIM + numbers)


# --------------------------------------------------------------------------------------- one is another's case


DSGD = dsgd(0.1)


@pytest.mark.parametrize(
    ("one", "other", "topology"),
    [
        (k_gt(0.1, local_steps=1), gradient_tracking(0.1, order="semi"), PEERS),
        (led(0.1, local_steps=1), exact_diffusion(0.1, form="d2"), STAR),
        (momentum_tracking(0.1, 0.0), gradient_tracking(0.1), RING),
        (dmsgd(0.1, 0.9), dsgd(0.1, optimizer=OPTIMIZERS["sgd"](momentum=0.9)), PEERS),
        (slowmo(0.1, 0.0, 1.0, period=4), gossip_pga(0.1, period=4), PEERS),
        (gossip_pga(0.1, period=100), DSGD, PEERS),
        (dfedavg(0.1, 0.0, local_steps=3), dsgd(0.1, local_steps=3), PEERS),
        (sgp(0.1), DSGD, PEERS),
    ],
    ids=["k_gt", "led", "momentum_tracking", "dmsgd", "slowmo", "gossip_pga", "dfedavg", "sgp"],
)
def test_special_cases_are_the_algorithm_that_the_docstring_names(one, other, topology):
    np.testing.assert_allclose(final(one, topology), final(other, topology), atol=1e-12, rtol=0)


SAMPLED = least_squares(N, dim=DIM, samples=8, batch_size=2)
LOCALLY = {local_steps: dsgd(0.1, local_steps=local_steps) for local_steps in (1, 3)}


@pytest.mark.parametrize("factory", [dfedavg, k_gt, led], ids=name_of)
@pytest.mark.parametrize("local_steps", LOCALLY)
def test_local_steps_draw_the_minibatches_that_dsgd_draws(factory, local_steps):
    """In the first round, in which nothing is corrected yet."""
    one = final(factory(0.1, local_steps=local_steps), RING, problem=SAMPLED, rounds=1)
    other = final(LOCALLY[local_steps], RING, problem=SAMPLED, rounds=1)
    np.testing.assert_allclose(one, other, atol=1e-14, rtol=0)


def test_nids_is_exact_diffusion_from_one_local_step_further():
    step = np.stack([START[i] - 0.1 * GRAD(i, START[i], 0, 0) for i in range(N)])
    moved = PROBLEM._replace(starts={"x": step})
    after = final(exact_diffusion(0.1), STAR, problem=moved, rounds=ROUNDS - 1)
    np.testing.assert_allclose(final(nids(0.1), STAR), after, atol=1e-12, rtol=0)


def test_dsgd_runs_on_matcha():
    """Which is MATCHA. Every draw keeps the mean, so the mean model moves by the mean gradient."""
    pytest.importorskip("cvxpy")
    topology = tp.matcha(N, base=tp.ring, budget=0.5)
    alike = PROBLEM._replace(
        local={**PROBLEM.local, "A": np.tile(PROBLEM.local["A"].mean(axis=0), (N, 1, 1))}
    )
    result = simulate(
        dsgd(0.1), alike, topology, rounds=ROUNDS, eval_every=ROUNDS, precision="float64", seeds=2
    )
    mean = START.mean(axis=0)
    for _ in range(ROUNDS):
        step = alike.local["A"][0] @ (mean - PROBLEM.shared["optimum"]) + PROBLEM.local["g"].mean(axis=0)
        mean = mean - 0.1 * step
    np.testing.assert_allclose(result.params["x"].mean(axis=1), np.tile(mean, (2, 1)), atol=1e-12)
    assert np.abs(result.params["x"][0] - result.params["x"][1]).max() > 1e-3  # other matchings
    per_round = result.rows[-1]["bits_node"] / ROUNDS
    assert 0 < per_round < 2 * 64 * DIM  # less than on the whole ring


# ---------------------------------------------------------------------------------------------- exact averages


@pytest.mark.parametrize("factory", [gossip_pga, slowmo])
def test_an_exact_average_is_paid_as_a_ring_all_reduce(factory):
    """2 (n − 1)/n models, rounded up to whole bits, and nothing to the neighbours in that round."""
    algorithm = functools.partial(factory, period=3)
    rows = simulate(algorithm, PROBLEM, RING, rounds=6, eval_every=1, precision="float64").rows
    sent = np.diff([row["bits_node"] for row in rows])
    model = message_bits({"x": START})
    whole = np.ceil(2 * (N - 1) / N * model)
    np.testing.assert_array_equal(sent, [2 * model, 2 * model, whole] * 2)
    assert [row["consensus"] > 0 for row in rows[1:]] == [True, True, False] * 2


# ----------------------------------------------------------------------------------------------------- sleepers


@pytest.mark.parametrize(
    ("factory", "channel"),
    [(functools.partial(k_gt, local_steps=2), linear()), (push_diging, linear(lost="sender"))],
    ids=["k_gt", "push_diging"],
)
def test_tracking_stays_exact_while_nodes_sleep(factory, channel):
    """A sleeper keeps its rows, and sums over nodes are kept; the last rounds have everyone's attention."""
    topology = PUSH if factory is push_diging else RING
    x = final(factory, topology, rounds=4000, hyper={"lr": 0.02}, participation=0.7, channel=channel)
    assert np.mean(np.sum((x - PROBLEM.optimum["x"]) ** 2, axis=1)) < 1e-18


def test_a_step_size_of_zero_moves_nothing_and_breaks_nothing():
    """What is divided by the step size counts as 0, at both ends of a schedule with warm-up."""
    schedule = cosine(rounds=6, warmup=2)
    for factory in (functools.partial(slowmo, period=2), decentlam, qg_dsgdm):
        x = final(functools.partial(factory, schedule=schedule), RING, rounds=10, hyper={"lr": 0.1})
        assert np.isfinite(x).all() and (x != START).any()


# ----------------------------------------------------------------------------------------------------- refusals


DIRECTED = tp.static_exponential(N)
SYMMETRIC_ONLY = [extra, exact_diffusion, nids, led, decentlam]
DOUBLY = [
    gradient_tracking, k_gt, momentum_tracking, dmsgd, qg_dsgdm, gossip_pga, slowmo, dfedavg, dadam,
    decentralized_amsgrad,
]  # fmt: skip


def refuse(factory, topology, message, **options):
    with pytest.raises(ValueError, match=message):
        simulate(factory, PROBLEM, topology, rounds=1, **options)


@pytest.mark.parametrize("factory", SYMMETRIC_ONLY, ids=name_of)
def test_directed_graphs_are_refused_by_what_needs_symmetric_weights(factory):
    name = name_of(factory)
    refuse(factory, DIRECTED, rf"'{name}' needs a topology that is symmetric; 'static_exponential' is")


@pytest.mark.parametrize("factory", [extra, exact_diffusion, nids, led], ids=name_of)
def test_changing_graphs_and_sleepers_are_refused_by_primal_dual_methods(factory):
    name = name_of(factory)
    refuse(factory, MIRROR, rf"'{name}' needs a topology that is fixed; 'star and ring in turns' is")
    refuse(factory, RING, rf"'{name}' needs every node and link in every round", participation=0.5)


@pytest.mark.parametrize("factory", DOUBLY, ids=name_of)
def test_weights_that_do_not_keep_the_mean_are_refused(factory):
    uneven = tp.star(N, weights=tp.uniform_neighbour())
    refuse(factory, uneven, rf"'{name_of(factory)}' needs a topology that is doubly stochastic; 'star' is")


@pytest.mark.parametrize("factory", [sgp, push_diging], ids=name_of)
def test_row_stochastic_weights_are_refused_by_push_methods(factory):
    uneven = tp.star(N, weights=tp.uniform_neighbour())
    refuse(factory, uneven, rf"'{name_of(factory)}' needs a topology that is column stochastic; 'star' is")


@pytest.mark.parametrize("factory", [gossip_pga, slowmo], ids=name_of)
def test_exact_averages_need_everyone_and_a_plain_channel(factory):
    refuse(
        factory, RING, rf"'{name_of(factory)}' needs every node and link in every round", participation=0.5
    )
    refuse(factory, RING, "brings its own channel needs channel: linear, without losses", channel=linear(0.1))


def test_d2_is_refused_where_its_recursion_is_not_stable():
    """A ring of even size with weights 1/3 is exactly at the limit; a path with heavy weights is below."""
    d2 = functools.partial(exact_diffusion, form="d2")
    refuse(d2, RING, r"least eigenvalue is above -1/3; 'ring' has -0\.333333 \(lazy weights")
    swap = tp.from_matrix([[0.1, 0.9], [0.9, 0.1]], name="pair")
    with pytest.raises(ValueError, match=r"'pair' has -0\.8"):
        simulate(d2, quadratic(2, dim=1), swap, rounds=1)
    assert np.isfinite(final(d2, tp.ring(N, weights=tp.lazy_metropolis()), rounds=2)).all()
    assert np.isfinite(final(exact_diffusion, RING, rounds=2)).all()  # (I + W)/2 is always valid


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: exact_diffusion(form="d3"),
            "exact_diffusion: form must be one of exact_diffusion, d2, got 'd3'",
        ),
        (
            lambda: gradient_tracking(order="ntx"),
            "gradient_tracking: order must be one of .*, semi, .*, got 'ntx'",
        ),
        (lambda: dmsgd(order="semi"), "dmsgd: order must be one of adapt_then_combine, .*, got 'semi'"),
        (lambda: nids(c=0.0), r"nids: c must be positive, got 0\.0"),
        (lambda: dmsgd(0.1, 1.0), r"dmsgd: momentum must be in \[0, 1\), got 1\.0"),
        (lambda: decentlam(0.1, -0.1), r"decentlam: momentum must be in \[0, 1\), got -0\.1"),
        (lambda: qg_dsgdm(0.1, decay=2.0), r"qg_dsgdm: decay must be in \[0, 1\), got 2\.0"),
        (lambda: dfedavg(0.1, 1.5), r"dfedavg: momentum must be in \[0, 1\), got 1\.5"),
        (lambda: momentum_tracking(0.1, 1.5), r"momentum_tracking: momentum must be in \[0, 1\), got 1\.5"),
        (lambda: slowmo(0.1, 1.0), r"slowmo: slow_momentum must be in \[0, 1\), got 1\.0"),
        (lambda: slowmo(period=0), "slowmo: period must be at least 1, got 0"),
        (lambda: gossip_pga(period=0), "gossip_pga: period must be at least 1, got 0"),
        (lambda: dadam(b2=1.0), r"dadam: b2 must be in \[0, 1\), got 1\.0"),
        (lambda: decentralized_amsgrad(b1=-1.0), r"decentralized_amsgrad: b1 must be in \[0, 1\), got -1\.0"),
        (lambda: decentralized_amsgrad(eps=0.0), r"decentralized_amsgrad: eps must be positive, got 0\.0"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
