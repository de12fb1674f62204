"""Prototypes: their distances to patches, the similarities, the heads, and the network of all of them."""

from pixpnet.prototypes.add_on import ADD_ON_ACTIVATIONS, ADD_ONS, build_add_on
from pixpnet.prototypes.build import build_network, regular_own_class
from pixpnet.prototypes.distances import DISTANCES
from pixpnet.prototypes.heads import HEADS, Head, LinearHead, ProtoHead, SparseHead
from pixpnet.prototypes.initialization import PatchSample
from pixpnet.prototypes.losses import average_separation_loss, cluster_loss, l1_loss, separation_loss
from pixpnet.prototypes.network import PrototypeNetwork, PrototypeOutput
from pixpnet.prototypes.similarities import SIMILARITIES, LinearSimilarity, LogSimilarity, Similarity

__all__ = [
    "ADD_ONS",
    "ADD_ON_ACTIVATIONS",
    "DISTANCES",
    "HEADS",
    "SIMILARITIES",
    "Head",
    "LinearHead",
    "LinearSimilarity",
    "LogSimilarity",
    "PatchSample",
    "ProtoHead",
    "PrototypeNetwork",
    "PrototypeOutput",
    "Similarity",
    "SparseHead",
    "average_separation_loss",
    "build_add_on",
    "build_network",
    "cluster_loss",
    "l1_loss",
    "regular_own_class",
    "separation_loss",
]
