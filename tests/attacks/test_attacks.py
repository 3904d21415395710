"""Every attack against a loop over nodes in plain NumPy, through a linear and a robust channel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from dlax import attacks as at
from dlax import mixing
from dlax import topology as tp
from dlax.attacks.search import best_factor
from dlax.channel import attacked, choco, linear, robust
from dlax.robust import mean as mean_rule
from dlax.robust import nna, trimmed_mean

pytestmark = pytest.mark.usefixtures("strict_ranks")

GOLDEN = np.array([(1, 0), (0, 2), (2, 1), (1.5, 1.2), (9, 9)], float)
GRAPH = tp.from_networkx(__import__("networkx").random_regular_graph(4, 8, seed=3))
W = GRAPH.matrices[0].toarray()
BYZ = np.arange(8) >= 6
HONEST = np.flatnonzero(~BYZ)
X = np.random.default_rng(0).normal(size=(8, 5)) + 1
X2 = np.random.default_rng(1).normal(size=(8, 5)) - 1
KEY = jax.random.key(7)


def send(attack, *messages, channel=None, graph=GRAPH, byzantine=BYZ, knowledge="everything", memory=None):
    """What every node makes of the last of these messages; the link is opened with the first."""
    with jax.enable_x64(True):
        plan, tables = mixing.plan(graph, dtype=np.float64)
        network = mixing.network(
            plan, jax.tree.map(jnp.asarray, tables), jnp.int32(0), KEY, KEY, None
        )._replace(byzantine=jnp.asarray(byzantine))
        lying = attacked(channel or linear(), attack, knowledge)
        first, *later = [jax.tree.map(jnp.asarray, message) for message in messages]
        link = lying.open(first, network)
        for message in later or [first]:
            received, link, _ = lying.mix(link, message, network)
        return np.asarray(received)


def gossip(x, sent, told=None, matrix=W, byz=BYZ):
    """W x for honest receivers, with what Byzantine nodes send or tell."""
    out = np.zeros_like(x)
    for i in range(len(x)):
        for j in range(len(x)):
            lie = byz[j] and i != j
            out[i] += matrix[i, j] * ((told[i] if told is not None else sent[j]) if lie else x[j])
    return out


def close(received, wanted):
    np.testing.assert_allclose(received[HONEST], wanted[HONEST], rtol=1e-10, atol=1e-10)
    assert np.isfinite(received).all()


MU, S = X[HONEST].mean(0), X[HONEST].std(0, ddof=1)
SENT = {
    "zero": (at.zero(), np.zeros(5)),
    "sign_flip": (at.sign_flip(2.0), -2 * MU),
    "foe": (at.foe(0.3), -0.3 * MU),
    "alie": (at.alie(1.2), MU + 1.2 * S),
    "alie z": (at.alie(None), MU - norm.ppf((6 - (5 - 2)) / 6) * S),
    "mimic": (at.mimic(which=2), X[2]),
}


@pytest.mark.parametrize("name", SENT)
def test_what_all_hear(name):
    attack, lie = SENT[name]
    close(send(attack, X), gossip(X, dict.fromkeys(range(8), lie)))
    with_mean = send(attack, X, channel=robust(rule=mean_rule(), beyond=True))
    for i in HONEST:
        rows = [X[i]] + [lie if BYZ[j] else X[j] for j in range(8) if j != i and W[i, j] != 0]
        np.testing.assert_allclose(with_mean[i], np.mean(rows, axis=0), atol=1e-10)
    np.testing.assert_allclose(with_mean[BYZ], np.tile(MU, (2, 1)), atol=1e-10)


def test_golden_values_of_the_catalogue():
    byz = np.arange(5) == 4
    graph = tp.complete(5)
    for attack, value in (
        (at.alie(1.5), (2.4059, 2.2839)),
        (at.foe(2.0), (-2.25, -2.1)),
        (at.sign_flip(), (-1.125, -1.05)),
    ):
        received = send(attack, GOLDEN, graph=graph, byzantine=byz)
        np.testing.assert_allclose(received[0] * 5 - GOLDEN[:4].sum(0), value, atol=1e-4)


def test_noise_is_of_the_attack_stream_and_other_for_every_sender():
    key = jax.random.fold_in(jax.random.fold_in(KEY, 0x1E5), 0)
    with jax.enable_x64(True):
        normal = 1 + 2 * np.asarray(jax.random.normal(key, (8, 5), jnp.float64))
        flat = -1 + 3 * np.asarray(jax.random.uniform(key, (8, 5), jnp.float64))
    close(send(at.gaussian(1.0, 2.0), X), gossip(X, normal))
    close(send(at.uniform(-1.0, 2.0), X), gossip(X, flat))


def test_lost_entries_are_zeros_in_the_own_message():
    key = jax.random.fold_in(jax.random.fold_in(KEY, 0x1E5), 0)
    with jax.enable_x64(True):
        lost = np.asarray(jax.random.uniform(key, (8, 5), jnp.float64)) < 0.4
    assert 0 < lost[BYZ].sum() < lost[BYZ].size
    for knowledge in ("own", "everything"):
        close(send(at.erase(0.4), X, knowledge=knowledge), gossip(X, np.where(lost, 0, X)))


def away(i):
    return sum(W[i, j] * (X[i] - X[j]) for j in HONEST)


@pytest.mark.parametrize("factor", [1.5, 1.0])
def test_dissensus_turns_the_pull_of_honest_neighbours(factor):
    attack = at.isolation() if factor == 1 else at.dissensus(factor)
    lying = W[:, BYZ].sum(1)
    told = np.stack([X[i] + factor * away(i) / (lying[i] or 1) for i in range(8)])
    received = send(attack, X)
    close(received, gossip(X, None, told))
    for i in HONEST[lying[HONEST] > 0]:
        np.testing.assert_allclose(received[i], X[i] - (1 - factor) * away(i), atol=1e-10)


def test_alie_by_receiver_hides_among_each_neighbourhood():
    told = np.zeros_like(X)
    for i in HONEST:
        near = [j for j in range(8) if W[i, j] != 0 or j == i]
        good = X[[j for j in near if not BYZ[j]]]
        n, m = len(near), sum(BYZ[j] for j in near)
        share = (n - m - (n // 2 + 1 - m)) / (n - m)
        told[i] = good.mean(0) - norm.ppf(np.clip(share, 0.5 / (n - m), 1 - 0.5 / (n - m))) * good.std(
            0, ddof=1
        )
    close(send(at.alie(None, by_receiver=True), X), gossip(X, None, told))


def test_spectral_finds_the_fiedler_vector_of_the_honest_graph():
    L = np.zeros((8, 8))
    for i in HONEST:
        for j in HONEST:
            if i != j:
                L[i, j] -= W[i, j]
                L[i, i] += W[i, j]
    values, vectors = np.linalg.eigh(L[np.ix_(HONEST, HONEST)])
    assert values[2] > values[1] * 1.01  # else the vector would not be one
    v = np.zeros(8)
    v[HONEST] = vectors[:, 1]
    told = X + 0.7 * np.outer(v, v @ X)
    close(send(at.spectral(0.7, steps=3000), X), gossip(X, None, told))


def test_silence_gives_the_weight_back():
    wanted = np.zeros_like(X)
    for i in range(8):
        wanted[i] = X[i] + sum(W[i, j] * (X[j] - X[i]) for j in HONEST)
    close(send(at.drop(), X), wanted)
    received = send(at.drop(), X, channel=robust(rule=mean_rule()))
    for i in HONEST:
        rows = [X[i]] + [X[j] for j in HONEST if j != i and W[i, j] != 0]
        np.testing.assert_allclose(received[i], np.mean(rows, axis=0), atol=1e-10)


@pytest.mark.parametrize("attack", [at.infinity(), at.nan()])
def test_numbers_that_are_none_do_not_pass_a_robust_rule(attack):
    for rule in (nna(), trimmed_mean()):
        assert np.isfinite(send(attack, X, channel=robust(rule=rule))).all()
    assert not np.isfinite(send(attack, X)[HONEST]).all()
    assert np.isfinite(send(attack, X)[BYZ]).all()


def test_replay_sends_the_message_of_some_rounds_ago():
    rounds = [X + t for t in range(6)]
    for t in range(1, 6):
        received = send(at.replay(delay=3), rounds[0], *rounds[: t + 1])
        close(received, gossip(rounds[t], rounds[max(t - 3, 0)]))


def test_model_replacement_replaces_the_model():
    attack = at.model_replacement(4.0)._replace(poison=None)
    close(send(attack, X), gossip(X, MU + 4 * (X - MU)))
    byz = np.arange(8) == 7
    received = send(
        attack._replace(craft=at.model_replacement(8.0).craft), X, graph=tp.complete(8), byzantine=byz
    )
    np.testing.assert_allclose(received[0], X[7] + 7 / 8 * (MU8 := X[:7].mean(0)) - 7 / 8 * MU8, atol=1e-10)


@pytest.mark.parametrize("knowledge", ["neighbourhood", "everything"])
def test_sybils_are_one_learner(knowledge):
    own = X[BYZ].mean(0)
    attack = at.sybil()._replace(poison=None)
    received = send(attack, X, knowledge=knowledge)
    for i in HONEST:
        np.testing.assert_allclose(received[i], gossip(X, dict.fromkeys(range(8), own))[i], atol=1e-10)
    total, count = 2 * own, 2
    for b in np.flatnonzero(BYZ):
        for j in HONEST:
            if W[b, j] != 0:
                total, count = total + (X[j] if knowledge == "neighbourhood" else MU), count + 1
    np.testing.assert_allclose(received[BYZ], np.tile(total / count, (2, 1)), atol=1e-10)


def test_mimic_heuristic_follows_its_power_steps():
    key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(KEY, 0x1E5), 0), 0)
    key = jax.random.fold_in(jax.random.fold_in(KEY, 0x1E5), 0)
    with jax.enable_x64(True):
        z = np.asarray(jax.random.normal(key, (1, 5), jnp.float64))[0]
    z, m = z / np.linalg.norm(z), np.zeros(5)
    rounds = [X, X2, X + X2, 2 * X]
    for t, x in enumerate(rounds):
        m = (t * m + x[HONEST].mean(0)) / (t + 1)
        step = sum(((x[i] - m) @ z) * (x[i] - m) for i in HONEST)
        z = (t + 1) / (t + 2) * z + step / np.linalg.norm(step) / (t + 2)
        z /= np.linalg.norm(z)
        copied = x[0] if t < 2 else x[max(HONEST, key=lambda i: abs(x[i] @ z))]
        received = send(at.mimic_heuristic(learning=2), rounds[0], *rounds[: t + 1])
        close(received, gossip(x, dict.fromkeys(range(8), copied)))


def test_fang_trimmed_mean_lies_beyond_the_extremes_and_holds_back():
    key = jax.random.fold_in(jax.random.fold_in(KEY, 0x1E5), 0)
    with jax.enable_x64(True):
        u = np.asarray(jax.random.uniform(key, (8, 5), jnp.float64))
    for direction in ("against", "along"):
        s = np.where(X2[HONEST].mean(0) >= X.mean(0), 1, -1) * (1 if direction == "against" else -1)
        sent = np.zeros_like(X)
        for b in range(8):
            for c in range(5):
                low, high = X2[HONEST, c].min(), X2[HONEST, c].max()
                if s[c] > 0:
                    end = low / 2 if low > 0 else 2 * low
                    sent[b, c] = low + u[b, c] * (end - low)
                    assert sent[b, c] <= low
                else:
                    end = 2 * high if high > 0 else high / 2
                    sent[b, c] = high + u[b, c] * (end - high)
                    assert sent[b, c] >= high
        close(send(at.fang_trimmed_mean(direction=direction), X, X2), gossip(X2, sent))


def test_fang_krum_goes_as_far_as_krum_follows():
    old, n, f = X.mean(0), 8, 2
    x = X + 5.0
    s = np.where(x[HONEST].mean(0) >= old, 1, -1)
    apart = [sum(np.linalg.norm(x[a] - x[b]) for b in HONEST) for a in HONEST]
    far = max(np.linalg.norm(x[a] - old) for a in HONEST)
    length = (min(apart) / (n - 2 * f - 1) + far) / np.sqrt(5)

    def selected(length):
        rows = np.where(BYZ[:, None], old - length * s, x)
        d = [sorted(np.sum((rows[a] - rows[b]) ** 2) for b in range(n) if b != a) for a in range(n)]
        scores = np.array([sum(row[: n - f - 2]) for row in d])
        return scores[BYZ].min() < scores[HONEST].min()

    halvings = 0
    while not selected(length) and length >= 1e-5:
        length, halvings = length / 2, halvings + 1
    assert halvings > 0
    close(send(at.fang_krum(), X, x), gossip(x, dict.fromkeys(range(8), old - length * s)))


def port(value, search):
    """The two searches, as loops that stop when their trials are used up."""
    trials, step = {"monna": (16, 1.0), "byzfl": (20, 10.0)}[search]
    best, highest = 0.0, value(0.0)
    trials -= 1
    q = best
    while trials:
        q = best + step
        y = value(q)
        trials -= 1
        if not y > highest:
            step *= 0.8
            break
        best, highest, step = q, y, 2 * step
    while trials:
        if search == "byzfl":
            q = best + step
        elif q < best:
            q = q + step
        else:
            lower = q - step
            while lower < 0:
                lower = (lower + q) / 2
            q = lower
        y = value(q)
        trials -= 1
        if y > highest:
            best, highest = q, y
        step *= 0.8
    return best


@pytest.mark.parametrize("search", ["monna", "byzfl"])
def test_the_search_is_that_of_a_loop(search):
    rng = np.random.default_rng(5)
    peaks = np.concatenate([rng.uniform(0, 5, 10), rng.uniform(0, 200, 10)])
    with jax.enable_x64(True):
        found = best_factor(lambda q: -((q - peaks) ** 2) + jnp.sin(q), (20,), jnp.float64, search)
    wanted = [port(lambda q, p=p: -((q - p) ** 2) + np.sin(q), search) for p in peaks]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert len(set(np.round(wanted, 6))) > 10


def trimmed(x, lie, f=2):
    rows = np.sort(np.concatenate([x[HONEST], [lie] * f]), axis=0)
    return rows[f:-f].mean(0)


@pytest.mark.parametrize("search", ["monna", "byzfl"])
@pytest.mark.parametrize("kind", ["foe", "alie"])
def test_optimised_attacks_take_the_factor_of_the_loop(kind, search):
    make = at.optimised_foe if kind == "foe" else at.optimised_alie
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=(8, 5)) + 0.5
        mu, s = x[HONEST].mean(0), x[HONEST].std(0, ddof=1)

        def lie(q, mu=mu, s=s):
            if kind == "alie":
                return mu + q * s
            return (1 - q) * mu if search == "monna" else -q * mu

        q = port(lambda q, x=x, mu=mu, lie=lie: np.sum((trimmed(x, lie(q)) - mu) ** 2), search)
        received = send(make(search=search), x, graph=tp.complete(8), channel=robust(rule=trimmed_mean()))
        np.testing.assert_allclose(received[0], trimmed(x, lie(q)), atol=1e-10)


def test_dissensus_searches_for_every_receiver():
    directions = np.stack([away(i) for i in range(8)])
    wanted = np.zeros_like(X)
    for i in HONEST:

        def outcome(q, i=i):
            return gossip(X, None, X + q * directions)[i]

        q = port(lambda q, outcome=outcome: np.sum((outcome(q) - MU) ** 2), "monna")
        wanted[i] = outcome(q)
    np.testing.assert_allclose(send(at.dissensus(None), X)[HONEST], wanted[HONEST], rtol=1e-10)


ORDER = ("own", "neighbourhood", "everything")
MADE = {name: make()._replace(poison=None) for name, make in at.ATTACKS.items()}
LIARS = [name for name, attack in MADE.items() if attack.craft is not None]


@pytest.mark.parametrize("name", LIARS)
def test_less_knowledge_is_refused_and_more_is_not_used(name):
    """What an attack may not see does not change what it sends."""
    attack = MADE[name]
    for level in ORDER:
        if ORDER.index(level) < ORDER.index(attack.needs):
            with pytest.raises(ValueError, match=f"needs '{attack.needs}', got '{level}'"):
                attacked(linear(), attack, level)
    if attack.needs == "everything" or attack.faces:
        return
    changed = X.copy()
    i = next(i for i in HONEST if (W[BYZ][:, i] == 0).any())
    b = next(b for b in np.flatnonzero(BYZ) if W[b, i] == 0)
    changed[i] += 100  # b does not hear of i
    if name == "sybil":
        return  # what one of them hears all know
    before, after = (send(attack, x, knowledge=attack.needs) for x in (X, changed))
    if name not in ("infinity", "nan"):
        np.testing.assert_array_equal(before[b], after[b])
    for receiver in HONEST:  # who hears b alone of what changed
        others = [j for j in range(8) if W[receiver, j] != 0 and j not in (receiver,)]
        if i not in others and receiver != i and b in others and not any(BYZ[j] and j != b for j in others):
            np.testing.assert_allclose(before[receiver], after[receiver], atol=1e-12)


def test_knowledge_that_an_attack_lacks_raises_when_it_looks():
    for look in (lambda sight: sight.around(), lambda sight: sight.respond(None)):
        nosy = at.zero()._replace(craft=lambda memory, sight, look=look: look(sight))
        with pytest.raises(ValueError, match="needs 'everything', got 'neighbourhood'"):
            send(nosy, X, knowledge="neighbourhood")

    def peek(memory, sight):
        seen.append(sight.message)
        return at.zero().craft(memory, sight)

    seen = []
    send(at.zero()._replace(craft=peek), X, knowledge="own")
    np.testing.assert_array_equal(seen[0][HONEST], 0)
    np.testing.assert_array_equal(seen[0][BYZ], X[BYZ])


@pytest.mark.parametrize("name", [name for name in LIARS if MADE[name].faces])
def test_faces_need_a_channel_that_carries_them(name):
    with pytest.raises(ValueError, match="tells each receiver another thing"):
        attacked(choco(), MADE[name])


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (at.mimic, {"which": -1}, "mimic: which must"),
        (at.mimic_heuristic, {"learning": -1}, "mimic_heuristic: learning must"),
        (at.replay, {"delay": 0}, "replay: delay must"),
        (at.spectral, {"steps": 0}, "spectral: steps must"),
        (at.fang_krum, {"direction": "up"}, "fang_krum: direction must"),
        (at.fang_trimmed_mean, {"factor": 1.0}, "fang_trimmed_mean: factor must"),
        (at.label_flip, {"flip": "up"}, "label_flip: flip must"),
        (at.label_flip, {"flip": "swap", "swap": (1, 1)}, "label_flip: swap must"),
        (at.backdoor, {"size": 0}, "backdoor: size must"),
        (at.backdoor, {"target": -1}, "backdoor: target must"),
        (at.backdoor, {"fraction": 0.0}, "backdoor: fraction must"),
    ],
)
def test_options_out_of_range(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
