"""Prototypes: their distances to patches, the similarities, the heads, and the network of all of them."""

from pixpnet.prototypes.add_on import ADD_ON_ACTIVATIONS, ADD_ONS, build_add_on
from pixpnet.prototypes.distances import (
    DISTANCES,
    SIMILARITIES,
    Cosine,
    Distance,
    Embedded,
    EmbeddedDistance,
    LinearSimilarity,
    LogSimilarity,
    Similarity,
    SquaredL2,
    find_distance,
    pairwise_sum,
    patch_rows,
)
from pixpnet.prototypes.heads import (
    HEADS,
    Head,
    LinearHead,
    MeanHead,
    ProtoHead,
    SparseHead,
    describe_classes,
    is_class_specific,
)
from pixpnet.prototypes.initialization import PatchSample, kmeans, random_keys
from pixpnet.prototypes.losses import average_separation_loss, cluster_loss, l1_loss, separation_loss
from pixpnet.prototypes.network import PrototypeNetwork, PrototypeOutput, build_network, regular_own_class

__all__ = [
    "ADD_ONS",
    "ADD_ON_ACTIVATIONS",
    "DISTANCES",
    "HEADS",
    "SIMILARITIES",
    "Cosine",
    "Distance",
    "Embedded",
    "EmbeddedDistance",
    "Head",
    "LinearHead",
    "LinearSimilarity",
    "LogSimilarity",
    "MeanHead",
    "PatchSample",
    "ProtoHead",
    "PrototypeNetwork",
    "PrototypeOutput",
    "Similarity",
    "SparseHead",
    "SquaredL2",
    "average_separation_loss",
    "build_add_on",
    "build_network",
    "cluster_loss",
    "describe_classes",
    "find_distance",
    "is_class_specific",
    "kmeans",
    "l1_loss",
    "pairwise_sum",
    "patch_rows",
    "random_keys",
    "regular_own_class",
    "separation_loss",
]
