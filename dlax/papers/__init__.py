"""Papers are tests: each module runs one paper's system at small scale and computes a verdict on its claims.

    reproduction = dlax.papers.reproduce("dfedsam")
    reproduction.claims        # claim, the paper's figure, the figure here, does it hold?
    reproduction.figure        # a picture that mirrors the paper's main one

A module has one function, `reproduce(*, slow) -> Reproduction`: seconds and scikit-learn's digits when not `slow`,
minutes and Fashion-MNIST when it is. Where a paper's text, code or our inference differ, its docstring says so.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from dlax import registry
from dlax.claims import Claims

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Reproduction(NamedTuple):
    """What came out.

    Attributes:
      title: the paper, in one line.
      setting: what was run, in one line: data, nodes, rounds, seeds.
      claims: with verdicts.
      figure: the picture.
      data: the picture's numbers, plain data by name, for people who draw their own.
    """

    title: str
    setting: str
    claims: Claims
    figure: "Figure"
    data: dict[str, Any]

    def rows(self) -> list[dict[str, Any]]:
        """The claims as `{claim, paper, here, holds}`."""
        return [
            {
                "claim": row["claim"],
                "paper": row["predicted"],
                "here": row["measured"],
                "holds": row["holds?"] == "yes",
            }
            for row in self.claims.rows
        ]


def unmeasured(params: Any, local: Any, shared: Any) -> Any:
    """In place of a problem's objective, where no claim is about it: its gradient takes long to compile."""
    import jax.numpy as jnp  # here, so that listing papers stays quick

    del params, local, shared
    return jnp.zeros(())


# name -> what it is about; the module of that name is imported when it is run.
PAPERS: dict[str, str] = {
    "bristle": "output layers merged class by class, by F1 on a tiny test set of one's own, among attackers",
    "dadao": "gradients and communications on decoupled Poisson clocks, both accelerated",
    "dfedsam": "DFedSAM and DFedSAM-MGS: sharpness-aware local steps, several gossip steps",
    "dimat": "merging and training in turn: hidden units are matched before models are averaged",
    "disaster": "hubs disappear while the network learns: is it their data or their links that are missed?",
    "fedamd": "some clients of a round keep gradients, the others walk along the mean of all that were kept",
    "fedcompass": "a server hands out local steps by speed, so that clients arrive, and are averaged, in groups",
    "flag_aggregator": "unit gradients projected on the subspace that explains most of them best",
    "modest": "every node works out for itself who trains next: samples without a server, most nodes idle",
    "monna": "momentum and nearest-neighbour averaging against Byzantine peers",
    "network_lasso": "one-class SVMs of neighbouring road regions, coupled by a network lasso",
    "pccl_diloco": "DiLoCo and its late and streamed forms, over rings of peers that come and go",
    "single_merging": "almost silent gossip and one global merge at the end",
    "sybilwall": "similarity to neighbours and, by gossip of histories, to distant nodes gives Sybils away",
    "vanishing_variance": "averages of independent networks lose their scale; rescaling each layer keeps it",
}


def load(name: str) -> Callable[..., Reproduction]:
    """The function that runs a paper.

    Raises:
      ValueError: if there is no such paper, with the nearest name.
    """
    if name not in PAPERS:
        near = registry.suggest(name, PAPERS)
        raise ValueError(f"reproduce: unknown paper {name!r}; choose one of {', '.join(PAPERS)}{near}")
    return import_module(f"dlax.papers.{name}").reproduce


def reproduce(name: str, *, slow: bool = False) -> Reproduction:
    """Runs one paper's claims.

    Args:
      name: a key of `PAPERS`.
      slow: the full version (minutes, Fashion-MNIST) instead of the quick one (seconds, digits).

    Raises:
      ValueError: if there is no such paper, or its data are not to be had.
    """
    return load(name)(slow=slow)
