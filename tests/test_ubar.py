"""UBAR against a loop: near, then good, then averaged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_attacked import D, graph, mask_of, network, sending, telling

import dlax
from dlax import attacks, channel
from dlax.algorithms import dsgd


@pytest.mark.parametrize("name", ["ring", "complete", "star"])
@pytest.mark.parametrize("form", ["sent", "told", "bomb"])
def test_ubar_is_its_loop(name, form):
    topology, rng = graph(name), np.random.default_rng(0)
    n, mask = topology.n, mask_of(topology.n, 2, 5)
    x, lie, targets = rng.normal(size=(3, n, D))
    lie = np.full_like(lie, np.nan) if form == "bomb" else lie

    def loss(params):
        return jnp.sum(jnp.square(params["x"] - targets), axis=1)

    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        net, message = network(topology, mask)._replace(losses=loss), {"x": jnp.asarray(x)}
        attack = telling(jnp.asarray(lie)) if form == "told" else sending(jnp.asarray(lie))
        whole = channel.attacked(channel.ubar(0.4), attack)
        received, _, _ = whole.mix(whole.open(message, net), message, net)
    W = topology.dense()
    for i in np.flatnonzero(~mask):
        others = [j for j in np.flatnonzero(W[i]) if j != i]
        seen = {j: (lie[i] if form == "told" else lie[j]) if mask[j] else x[j] for j in others}
        seen = {j: row for j, row in seen.items() if np.isfinite(row).all()}
        order = sorted(seen, key=lambda j: np.linalg.norm(seen[j] - x[i]))
        near = order[: len(others) - mask[others].sum()]
        good = [j for j in near if ((seen[j] - targets[i]) ** 2).sum() <= ((x[i] - targets[i]) ** 2).sum()]
        good = good or order[:1]
        expected = 0.4 * x[i] + 0.6 * np.mean([seen[j] for j in good], axis=0) if good else x[i]
        np.testing.assert_allclose(received["x"][i], expected, atol=1e-12)


def test_ubar_trains_under_attack_and_refuses_pairs():
    problem = dlax.make("problem", "classification", n=8, dataset="digits", model="linear")
    torus = dlax.make("topology", "complete", n=8)
    options = {"rounds": 60, "attack": attacks.foe(3.0), "byzantine": attacks.at(nodes=(1, 6))}
    run = dlax.simulate(
        dsgd(0.1, order="combine_while_adapt"), problem, torus, channel=channel.ubar(share=0.7), **options
    )
    assert run.rows[-1]["accuracy_worst"] > 0.7
    plain = dlax.simulate(dsgd(0.1, order="combine_while_adapt"), problem, torus, **options)
    assert plain.rows[-1]["accuracy_mean"] < 0.5
    with pytest.raises(ValueError, match="ubar: compares losses of models"):
        dlax.simulate(
            dlax.algorithms.gradient_tracking(0.1), problem, torus, rounds=1, channel=channel.ubar()
        )
    with pytest.raises(ValueError, match="ubar: own must be"):
        channel.ubar(1.5)
    with pytest.raises(ValueError, match="ubar: share must be"):
        channel.ubar(share=0.0)
