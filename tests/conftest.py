"""What the tests share: a warm compilation cache, strict shapes, no network, and --slow."""

import os
import socket
import sys
from pathlib import Path

import jax
import pytest

from dlax.data import DataNotFound, cache_dir, fashion_mnist

sys.path.insert(0, str(Path(__file__).parent))  # for tests/references.py, under every import mode


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_configure():
    # Tests compile far more than they compute: a quarter of the time that full optimisation takes to compile.
    flags = ["--xla_backend_optimization_level=1"]
    if jax.__version_info__ < (0, 11):  # XLA ends a program that is given a flag it does not know
        flags.append("--xla_cpu_use_fusion_emitters=false")
    os.environ.setdefault("XLA_FLAGS", " ".join(flags))
    # jax writes entries without a lock, so every worker of pytest-xdist keeps a folder of its own.
    folder = cache_dir() / "tests" / os.environ.get("PYTEST_XDIST_WORKER", "main")
    settings = {"jax_compilation_cache_dir": str(folder), "jax_persistent_cache_min_compile_time_secs": 0.0}
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)  # for the programs that tests start


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="minutes long; run with --slow"))


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No test may reach the network, neither itself nor through pip."""

    def refuse(self, address):
        raise OSError(f"tests run without network, and one wanted {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.fixture
def images():
    """Fashion-MNIST is there, or the test is skipped with the command that brings it."""
    try:
        fashion_mnist()
    except DataNotFound as missing:
        pytest.skip(str(missing))


@pytest.fixture
def strict_ranks():
    """[n] + [n, d] is an error: shapes that broadcast by accident hide mistakes.

    Flax's own layers rely on it, so only tests without networks ask for this.
    """
    with jax.numpy_rank_promotion("raise"):
        yield
