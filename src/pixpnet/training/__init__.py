"""Training: stages, projection, readout, and the files that they leave."""

from pixpnet.runs import RunDirectory, load
from pixpnet.training.learner import (
    PooledClassifier,
    build_optimizer,
    classifier_groups,
    prototype_groups,
    set_learning_rates,
)
from pixpnet.training.loop import (
    Execution,
    Learning,
    TrainedEpoch,
    make_execution,
    score,
    to_device,
    train_epochs,
)
from pixpnet.training.memory import is_out_of_memory, largest_that_fits, with_fitting_batch
from pixpnet.training.objective import (
    Batch,
    ClassifierObjective,
    EpochMeter,
    Forbidden,
    Judgement,
    Loss,
    Objective,
    PrototypeObjective,
    cross_entropy,
)
from pixpnet.training.plan import SCHEDULES, EpochPlan, plan_epochs
from pixpnet.training.profiling import PROFILERS
from pixpnet.training.projection import (
    SimilarityTable,
    project_prototypes,
    read_out,
    similarity_table,
    start_prototypes,
    train_readout,
)
from pixpnet.training.pruning import find_candidates, head_without, prune_prototypes, times_used
from pixpnet.training.setup import ON_CHANGED_DATA, features_in_place, resume, train
from pixpnet.training.tools import Display, RunLogs, flat_options
from pixpnet.training.trainer import BALANCES

__all__ = [
    "BALANCES",
    "ON_CHANGED_DATA",
    "PROFILERS",
    "SCHEDULES",
    "Batch",
    "ClassifierObjective",
    "Display",
    "EpochMeter",
    "EpochPlan",
    "Execution",
    "Forbidden",
    "Judgement",
    "Learning",
    "Loss",
    "Objective",
    "PooledClassifier",
    "PrototypeObjective",
    "RunDirectory",  # with load: where they stood before they had a room of their own
    "RunLogs",
    "SimilarityTable",
    "TrainedEpoch",
    "build_optimizer",
    "classifier_groups",
    "cross_entropy",
    "features_in_place",
    "find_candidates",
    "flat_options",
    "head_without",
    "is_out_of_memory",
    "largest_that_fits",
    "load",
    "make_execution",
    "plan_epochs",
    "project_prototypes",
    "prototype_groups",
    "prune_prototypes",
    "read_out",
    "resume",
    "score",
    "set_learning_rates",
    "similarity_table",
    "start_prototypes",
    "times_used",
    "to_device",
    "train",
    "train_epochs",
    "train_readout",
    "with_fitting_batch",
]
