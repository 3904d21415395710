"""MoDeST: every node works out for itself who trains next and who aggregates; no server, and few nodes are busy.

De Vos, Dhasade, Kermarrec, Lavoie, Pouwelse, Sharma. MoDeST: Bridging the Gap between Federated and Decentralized
Learning with Decentralized Sampling. arXiv 2302.13837, 2023; its later form is Plexus, EuroMLSys 2025.

    record = dlax.modest.modest(100, rounds=300, size=10)      who trains, who is counted, pings, bytes, seconds
    simulate(fedavg, problem, cohort=record.cohort(), ...)     the same rounds, trained: one compiled program

Host side, NumPy: neither views, pings, time-outs nor arrivals look at a model, so a whole run of the protocol is
known before the training starts.
"""

from dlax.modest.order import Search, order, sample, search
from dlax.modest.protocol import modest
from dlax.modest.record import Record
from dlax.modest.views import View, candidates, join, leave, merge, views

__all__ = [
    "Record",
    "Search",
    "View",
    "candidates",
    "join",
    "leave",
    "merge",
    "modest",
    "order",
    "sample",
    "search",
    "views",
]
