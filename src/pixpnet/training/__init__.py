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
    Judgement,
    Loss,
    Objective,
    PrototypeObjective,
    cross_entropy,
)
from pixpnet.training.plan import SCHEDULES, EpochPlan, plan_epochs
from pixpnet.training.profiling import PROFILERS
from pixpnet.training.projection import SimilarityTable, project_prototypes, start_prototypes, train_readout
from pixpnet.training.pruning import prune_prototypes
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
    "flat_options",
    "is_out_of_memory",
    "largest_that_fits",
    "load",
    "make_execution",
    "plan_epochs",
    "project_prototypes",
    "prototype_groups",
    "prune_prototypes",
    "resume",
    "score",
    "set_learning_rates",
    "start_prototypes",
    "to_device",
    "train",
    "train_epochs",
    "train_readout",
    "with_fitting_batch",
]
