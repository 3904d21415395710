"""D-SGD on a ring in PyTorch, all nodes stacked in one batched graph: the strongest form that we could write.

Minibatches by `index_select`, layers by `baddbmm` over all nodes, one backward pass, mixing in place. Run as a
program, `torch_dsgd.py HIDDEN N ROUNDS` (HIDDEN 0 is logistic regression), it prints the last loss.
"""

import os
import sys
from collections.abc import Callable
from itertools import pairwise

import numpy as np

INPUTS, CLASSES, BATCH, LR, SAMPLES = 784, 10, 32, 0.05, 60_000


def prepare(hidden: int, n: int, samples: int = SAMPLES) -> Callable[[int], float]:
    """Returns `rounds -> last loss, mean over nodes`; every call goes on from where the last one stopped."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    rng = np.random.default_rng(0)
    x_all = torch.from_numpy(rng.integers(0, 256, (samples, INPUTS)).astype(np.float32) / np.float32(255))
    y_all = torch.from_numpy(rng.integers(0, CLASSES, samples))
    per_node = samples // n
    offsets = (torch.arange(n) * per_node)[:, None]
    sizes = (INPUTS, hidden, CLASSES) if hidden else (INPUTS, CLASSES)
    params = []
    for inputs, outputs in pairwise(sizes):
        params.append((torch.randn(n, inputs, outputs) / inputs**0.5).requires_grad_())
        params.append(torch.zeros(n, 1, outputs, requires_grad=True))

    def run(rounds: int) -> float:
        loss = torch.zeros(())
        for _ in range(rounds):
            index = (torch.randint(0, per_node, (n, BATCH)) + offsets).reshape(-1)
            h = x_all.index_select(0, index).view(n, BATCH, INPUTS)
            y = y_all.index_select(0, index)
            for layer in range(0, len(params), 2):
                h = torch.baddbmm(params[layer + 1], torch.relu(h) if layer else h, params[layer])
            loss = torch.nn.functional.cross_entropy(h.reshape(-1, CLASSES), y, reduction="sum") / BATCH
            grads = torch.autograd.grad(loss, params)
            with torch.no_grad():
                for param, grad in zip(params, grads, strict=True):
                    param.sub_(grad, alpha=LR)
                    mixed = torch.roll(param, 1, 0)
                    mixed.add_(torch.roll(param, -1, 0)).add_(param).mul_(1 / 3)
                    param.copy_(mixed)
        return float(loss.detach()) / n

    return run


if __name__ == "__main__":
    print(prepare(int(sys.argv[1]), int(sys.argv[2]))(int(sys.argv[3])))
