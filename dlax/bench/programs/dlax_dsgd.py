"""D-SGD on a ring in dlax: the twin of `torch_dsgd.py`. Run as a program, it prints the last loss."""

import sys
from collections.abc import Callable

import numpy as np

from dlax.algorithms import dsgd
from dlax.data import Dataset, from_arrays
from dlax.models import linear, mlp
from dlax.problems import classification
from dlax.simulate import simulate
from dlax.topology import ring

INPUTS, CLASSES, BATCH, LR, SAMPLES = 784, 10, 32, 0.05, 60_000


def random_samples(samples: int = SAMPLES) -> Dataset:
    """Random images of Fashion-MNIST's size: speed does not depend on what they show."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (samples, INPUTS)).astype(np.float32) / np.float32(255)
    y = rng.integers(0, CLASSES, samples)
    return from_arrays(x, y, x[:1], y[:1], num_classes=CLASSES, name="random")


def prepare(hidden: int, n: int, samples: int = SAMPLES) -> Callable[[int], float]:
    """Returns `rounds -> last loss, mean over nodes`; every call starts anew."""
    model = mlp(hidden=(hidden,)) if hidden else linear()
    problem = classification(n, dataset=random_samples(samples), model=model, batch_size=BATCH)
    topology = ring(n)

    def run(rounds: int) -> float:
        result = simulate(dsgd, problem, topology, rounds=rounds, eval_every=rounds, hyper={"lr": LR})
        return float(result.rows[-1]["train_loss"])

    return run


if __name__ == "__main__":
    print(prepare(int(sys.argv[1]), int(sys.argv[2]))(int(sys.argv[3])))
