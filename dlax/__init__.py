"""dlax: decentralized learning in JAX.

    import dlax

    result = dlax.run("configs/quickstart.yaml", ["topology=ring"])
    result.to_pandas()

n nodes live in one batched pytree, take local steps together, gossip by a sparse mixing-matrix multiply, and a
whole run is one compiled program. See `dlax.list_registry(kind)` for what there is.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlax.experiment import run, sweep
    from dlax.registry import list_registry, make
    from dlax.results import Result
    from dlax.simulate import simulate

__version__ = "0.1.0"

# Resolved on first use: who builds the pieces by hand does not wait for pydantic or matplotlib.
_HOME = {
    "run": "experiment",
    "sweep": "experiment",
    "make": "registry",
    "list_registry": "registry",
    "Result": "results",
}
_MODULES = (
    "algorithms",
    "attacks",
    "channel",
    "data",
    "faults",
    "mixing",
    "models",
    "modest",
    "papers",
    "plots",
    "problems",
    "robust",
    "sampling",
    "schedulers",
    "simulate",
    "topology",
    "tree",
    "types",
)

__all__ = ["Result", "__version__", "list_registry", "make", "run", "simulate", "sweep"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"dlax.{_HOME[name]}"), name)
    if name in _MODULES:
        return import_module(f"dlax.{name}")
    raise AttributeError(f"module 'dlax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
