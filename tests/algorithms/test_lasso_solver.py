"""Network lasso: against a loop in NumPy, a conic solver, and what must hold at its solution."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlax import topology as tp
from dlax.algorithms import network_lasso
from dlax.optimizers import steps
from dlax.problems import least_squares, quadratic
from dlax.simulate import simulate
from dlax.topology import edge_table

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, DIM = 8, 3


def ridge_prox(v, scale, local, shared):
    """Of fᵢ = (1/2s) ‖Aᵢ x − bᵢ‖²."""
    A, b = local["A"], local["b"]
    left = A.T @ A / len(b) + jnp.eye(A.shape[1], dtype=A.dtype) / scale
    return {"x": jnp.linalg.solve(left, A.T @ b / len(b) + v["x"] / scale)}


PROBLEM = least_squares(N, dim=DIM, samples=4, heterogeneity=2.0)._replace(prox=ridge_prox)
STAR = tp.star(N)  # degrees 1 and 7: six empty slots at the leaves
GRAPHS = {"ring": tp.ring(N), "star": STAR, "grid": tp.grid(N)}


def lasso(lam, *, topology=STAR, rounds=2000, penalty=0.5, problem=PROBLEM, eval_every=None, **options):
    """The result, models [runs, n, d] inside; lam may be a list."""
    return simulate(
        functools.partial(network_lasso, **options), problem, topology, rounds=rounds,
        eval_every=eval_every or rounds,
        hyper={"lam": lam, "penalty": penalty}, precision="float64",
    )  # fmt: skip


def reference(topology, lam, penalty, rounds, *, norm="l2", edge_weights="unit", factor=lambda t: 1.0):
    """ADMM, edge by edge: every edge (i, j) keeps z and u under both of its ends."""
    A, b = PROBLEM.local["A"], PROBLEM.local["b"]
    W = topology.dense(0)
    pairs = [(i, j) for i in range(N) for j in range(N) if i != j and W[i, j] != 0]
    x = np.zeros((N, DIM))
    z, u = ({pair: np.zeros(DIM) for pair in pairs} for _ in range(2))
    for t in range(rounds):
        for i in range(N):
            mine = [pair for pair in pairs if pair[0] == i]
            s = len(b[i])
            left = A[i].T @ A[i] / s + penalty * len(mine) * np.eye(DIM)
            right = A[i].T @ b[i] / s + penalty * sum(z[pair] - u[pair] for pair in mine)
            x[i] = np.linalg.solve(left, right)
        for i, j in [pair for pair in pairs if pair[0] < pair[1]]:
            ours, theirs = x[i] + u[i, j], x[j] + u[j, i]
            force = lam * factor(t) * (W[i, j] if edge_weights == "mixing" else 1.0) / penalty
            gap = np.linalg.norm(ours - theirs)
            if norm == "squared":
                theta = 0.5 + 0.5 / (1 + 4 * force)
            else:
                theta = max(1 - force / gap, 0.5) if gap > 0 else 0.5
            z[i, j], z[j, i] = (
                theta * ours + (1 - theta) * theirs,
                (1 - theta) * ours + theta * theirs,
            )
        for i, j in pairs:
            u[i, j] += x[i] - z[i, j]
    return x


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize(
    "options", [{}, {"norm": "squared"}, {"edge_weights": "mixing"}], ids=["l2", "squared", "mixing"]
)
def test_rounds_are_those_of_the_loop(graph, options):
    got = lasso([0.05, 0.4], topology=GRAPHS[graph], rounds=15, **options).params["x"]
    for models, lam in zip(got, [0.05, 0.4], strict=True):
        want = reference(GRAPHS[graph], lam, 0.5, 15, **options)
        np.testing.assert_allclose(models, want, atol=1e-10)


def test_a_schedule_scales_lam_over_the_rounds():
    got = lasso(0.4, rounds=15, schedule=steps(at=(5, 10), factor=0.5)).params["x"][0]
    want = reference(STAR, 0.4, 0.5, 15, factor=lambda t: 0.5 ** ((t >= 5) + (t >= 10)))
    np.testing.assert_allclose(got, want, atol=1e-7)  # optax's schedule is float32


def neighbours(topology):
    table = edge_table(topology)
    used = table.neighbour != np.arange(N)[:, None]
    return table, used


def conic(lam, *, norm="l2"):
    """The solution on the star, from cvxpy."""
    cp = pytest.importorskip("cvxpy")
    from dlax.topology.weights.optimal import solve

    A, b = PROBLEM.local["A"], PROBLEM.local["b"]
    x = cp.Variable((N, DIM))
    fit = sum(cp.sum_squares(A[i] @ x[i] - b[i]) / (2 * len(b[i])) for i in range(N))
    edges = [(i, j) for j, i in STAR.edges if i < j]
    power = cp.norm if norm == "l2" else cp.sum_squares
    solve("test", cp.Minimize(fit + lam * sum(power(x[i] - x[j]) for i, j in edges)), [])
    return x.value


@pytest.mark.parametrize(("norm", "lam"), [("l2", 0.05), ("l2", 0.3), ("squared", 0.3)])
def test_the_solution_is_that_of_a_conic_solver(norm, lam):
    got = lasso([0.05, 0.3], norm=norm).params["x"][[0.05, 0.3].index(lam)]
    np.testing.assert_allclose(got, conic(lam, norm=norm), atol=2e-5)


def test_without_coupling_nodes_are_alone_and_with_much_they_are_one():
    result = lasso([0.0, 100.0], eval_every=10)  # what a round reports is averaged over as many
    A, b = PROBLEM.local["A"], PROBLEM.local["b"]
    alone = np.stack([np.linalg.lstsq(A[i], b[i], rcond=None)[0] for i in range(N)])
    np.testing.assert_allclose(result.params["x"][0], alone, atol=1e-6)
    pooled = np.broadcast_to(PROBLEM.optimum["x"], (N, DIM))
    np.testing.assert_allclose(result.params["x"][1], pooled, rtol=1e-5)
    last = [row for row in result.rows if row["round"] == 2000]
    assert last[1]["tied"] == 1 and last[0]["primal"] < 1e-8 and last[0]["dual"] < 1e-8
    # fourteen directed edges, three float64 numbers each
    assert last[0]["bits_total"] == 2000 * 14 * 3 * 64


def run_by_hand(norm="l2", lam=0.3, penalty=0.5, rounds=400):
    """States along a run, outside the engine, so that copies and duals can be seen."""
    from dlax import mixing

    class Round:
        t = jnp.int32(0)

        def require(self, who, *words):
            pass

        def edges(self):
            return mixing.edges(edge_table(STAR))

        def prox(self, v, scale):
            return jax.vmap(ridge_prox, in_axes=(0, 0, 0, None))(v, scale, PROBLEM.local, {})

    algorithm, round = network_lasso(lam, penalty, norm=norm), Round()
    states = [algorithm.init({"x": jnp.zeros((N, DIM))}, round)]
    step = jax.jit(lambda state: algorithm.step(state, round))
    for _ in range(rounds):
        state, info = step(states[-1])
        states.append(state)
    return states, info


def test_copies_keep_their_mean_and_the_solution_meets_its_conditions():
    lam, penalty = 0.3, 0.5
    with jax.enable_x64(True):
        states, info = jax.device_get(run_by_hand(lam=lam, penalty=penalty))
    table, used = neighbours(STAR)

    def twin(slots):
        return slots[table.neighbour, table.twin]

    for before, after in itertools.pairwise(states):
        z, mine = after.copies["x"], after.params["x"][:, None] + before.duals["x"]
        np.testing.assert_allclose((z + twin(z))[used], (mine + twin(mine))[used], atol=1e-12)
        assert (after.duals["x"][~used] == 0).all()
    x, u = states[-1].params["x"], states[-1].duals["x"]
    pull = penalty * u  # the subgradient that an edge exerts on its end
    np.testing.assert_allclose(pull[used], -twin(pull)[used], atol=1e-8)
    assert np.linalg.norm(pull, axis=2).max() <= lam + 1e-8
    A, b = PROBLEM.local["A"], PROBLEM.local["b"]
    grads = np.stack([A[i].T @ (A[i] @ x[i] - b[i]) / len(b[i]) for i in range(N)])
    np.testing.assert_allclose(grads + pull.sum(axis=1), 0, atol=1e-8)
    apart = x[:, None] - x[table.neighbour]
    gap = np.linalg.norm(apart, axis=2)
    open_edges = used & (gap > 1e-6)
    assert open_edges.any() and (used & ~open_edges).any()
    direction = apart[open_edges] / gap[open_edges][:, None]
    np.testing.assert_allclose(pull[open_edges], lam * direction, atol=1e-7)
    assert 0 < info["tied"] < 1
    assert info["tied"] == (used & ~open_edges).sum() / used.sum()


def test_theta_is_the_prox_of_the_norm_of_a_difference():
    """One round from given duals against minimising λ‖z − z'‖ + (s/2)(‖z − a‖² + ‖z' − b‖²) itself."""
    cp = pytest.importorskip("cvxpy")
    from dlax.topology.weights.optimal import solve

    lam, penalty = 0.3, 0.5
    with jax.enable_x64(True):
        states, _ = jax.device_get(run_by_hand(lam=lam, penalty=penalty, rounds=2))
    table, _ = neighbours(STAR)
    mine = states[2].params["x"][:, None] + states[1].duals["x"]
    i, s = 1, 0  # a leaf, and its only edge
    a, b = mine[i, s], mine[table.neighbour[i, s], table.twin[i, s]]
    z = cp.Variable((2, DIM))
    far = cp.sum_squares(z[0] - a) + cp.sum_squares(z[1] - b)
    solve("test", cp.Minimize(lam * cp.norm(z[0] - z[1]) + penalty / 2 * far), [])
    np.testing.assert_allclose(states[2].copies["x"][i, s], z.value[0], atol=1e-6)


def test_squared_norms_are_laplacian_regularisation_in_closed_form():
    lam = 0.3
    got = lasso([lam, 0.05], norm="squared").params["x"][0]
    A, b = PROBLEM.local["A"], PROBLEM.local["b"]
    adjacency = (STAR.dense(0) != 0) & ~np.eye(N, dtype=bool)
    laplacian = np.diag(adjacency.sum(axis=1)) - adjacency
    left = 2 * lam * np.kron(laplacian, np.eye(DIM))
    for i in range(N):
        left[i * DIM : (i + 1) * DIM, i * DIM : (i + 1) * DIM] += A[i].T @ A[i] / len(b[i])
    right = np.concatenate([A[i].T @ b[i] / len(b[i]) for i in range(N)])
    np.testing.assert_allclose(got.reshape(-1), np.linalg.solve(left, right), atol=1e-7)


def test_bad_options_and_graphs_are_refused():
    for options, word in [
        ({"lam": -1.0}, "lam must be at least 0, got -1"),
        ({"penalty": 0.0}, "penalty must be positive, got 0"),
        ({"norm": "l1"}, "norm must be l2 or squared, got 'l1'"),
        ({"edge_weights": "own"}, "edge_weights must be unit or mixing, got 'own'"),
    ]:
        with pytest.raises(ValueError, match=f"network_lasso: {word}"):
            network_lasso(**options)
    with pytest.raises(ValueError, match="needs a topology that is fixed"):
        simulate(network_lasso(), PROBLEM, tp.one_peer_exponential(N), rounds=1)
    with pytest.raises(ValueError, match="proximal step"):
        simulate(network_lasso(), quadratic(N)._replace(prox=None), tp.ring(N), rounds=1)
    with pytest.raises(ValueError, match="every node and link in every round"):
        simulate(network_lasso(), PROBLEM, tp.ring(N), rounds=1, participation=0.5)
