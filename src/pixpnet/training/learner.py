"""What learns in the stage at hand: the module, its optimizer and its loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pixpnet.backbones import Backbone
from pixpnet.config import Config, resolve_optimizer
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.training.loop import Step
from pixpnet.training.measures import LossTerms, classifier_terms, loss_terms
from pixpnet.training.optim import (
    GroupSpec,
    build_optimizer,
    classifier_groups,
    prototype_groups,
    set_learning_rates,
)
from pixpnet.training.setup import PooledClassifier, distributed
from pixpnet.training.stages import EpochPlan


class Learner:
    """The network, or in stage ``backbone`` a classifier over its backbone, ready for an epoch."""

    def __init__(
        self, network: PrototypeNetwork, backbone: Backbone, *, config: Config, accelerator: Accelerator
    ) -> None:
        self.network = network
        self.backbone = backbone
        self.config = config
        self.accelerator = accelerator
        self.classifier: PooledClassifier | None = None
        self.optimizer: torch.optim.Optimizer | None = None
        self.groups: list[GroupSpec] = []
        self._training: tuple[str, nn.Module] | None = None

    @property
    def module(self) -> nn.Module:
        """What is evaluated: the classifier in stage ``backbone``, later the network."""
        return self.network if self.classifier is None else self.classifier

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.groups for parameter in group.parameters]

    def enter(self, plan: EpochPlan) -> torch.optim.Optimizer:
        """Set up modules, modes, optimizer and learning rates of an epoch."""
        in_backbone_stage = plan.stage == "backbone"
        if in_backbone_stage != (self.classifier is not None):
            self.classifier = self._build_classifier() if in_backbone_stage else None
            self.optimizer = None
        optimizer = self.optimizer or self._build_optimizer()
        self.module.train()
        if not in_backbone_stage:
            frozen = plan.stage == "warm-up"
            self.network.backbone.requires_grad_(not frozen)
            self.network.backbone.train(not frozen)
        set_learning_rates(optimizer, self.groups, plan)
        return optimizer

    def training_module(self, plan: EpochPlan) -> nn.Module:
        """What is trained in an epoch that was entered: `module`, averaging its gradients over processes."""
        # Made anew where a stage begins, since others learn in it.
        if self._training is None or self._training[0] != plan.stage:
            self._training = (plan.stage, distributed(self.module, self.accelerator))
        return self._training[1]

    def step_function(self, module: nn.Module) -> Step:
        """The terms of the loss and the logits that the module, or what wraps it, gives for a batch."""
        if self.classifier is not None:

            def classifier_step(images: Tensor, labels: Tensor) -> tuple[LossTerms, Tensor]:
                logits = module(images)
                return classifier_terms(logits, labels), logits

            return classifier_step

        def prototype_step(images: Tensor, labels: Tensor) -> tuple[LossTerms, Tensor]:
            output = module(images)
            terms = loss_terms(output, labels, network=self.network, config=self.config.loss)
            return terms, output.logits

        return prototype_step

    def restore(self, *, classifier: Mapping[str, Tensor] | None, optimizer: dict[str, Any] | None) -> None:
        """Go back to the state of a checkpoint."""
        if classifier is not None:
            self.classifier = self._build_classifier()
            self.classifier.head.load_state_dict(classifier)
        built = self._build_optimizer()
        if optimizer is not None:
            built.load_state_dict(optimizer)

    def _build_classifier(self) -> PooledClassifier:
        return PooledClassifier(
            self.backbone, channels=self.backbone.out_channels, num_classes=self.network.num_classes
        ).to(self.accelerator.device)

    def _build_optimizer(self) -> torch.optim.Optimizer:
        options = self.config.optimizer
        if self.classifier is not None:
            self.groups = classifier_groups(self.network.backbone, self.classifier.head, options)
        else:
            self.groups = prototype_groups(self.network, options)
        self.optimizer = build_optimizer(resolve_optimizer(options.name), self.groups, options)
        return self.optimizer
