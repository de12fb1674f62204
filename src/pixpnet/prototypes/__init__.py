"""Prototypes: their distances to patches, the similarities, the heads, and the network of all of them."""

from pixpnet.prototypes.add_on import ADD_ON_ACTIVATIONS, ADD_ONS, build_add_on
from pixpnet.prototypes.build import build_network, regular_own_class
from pixpnet.prototypes.distances import DISTANCES
from pixpnet.prototypes.heads import HEADS, Head, LinearHead, ProtoHead, SparseHead
from pixpnet.prototypes.initialization import PatchSample
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
    "build_add_on",
    "build_network",
    "regular_own_class",
]
