"""One frozen data class per section of the configuration; the defaults stand here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pixpnet.config.options import (
    COUNT,
    SIDE,
    BelowOne,
    Count,
    Factor,
    From0,
    From1,
    KeyOf,
    NotNegative,
    Option,
    Positive,
    Range,
    Seed,
    Side,
    Text,
    options_of,
)


@dataclass(frozen=True)
class DatasetConfig:
    """The images.

    Args:
        name: Data set, case and ``-`` ignored. See `pixpnet data list`.
        root: Folder of the data sets; a set lies in <root>/<name in lower case>, or is the root itself.
        val_size: Share of the training images held out for validation.
        augment_factor: Augmented views per training image and epoch.
        crop_to_bbox: Crop every image to its object's bounding box first.
        size: Side of the network's input in pixels, where the data set leaves it free; None: its own default.
        classes: SYNTHBIRDS: number of species.
        train_images: SYNTHBIRDS: training images per class.
        test_images: SYNTHBIRDS: test images per class.
        seed: Seed of what is made once: SYNTHBIRDS' images, and the test images of a FOLDER or CSV without.
        test_size: FOLDER, CSV: share of each class for the test, where the files tell none.
        min_images: FOLDER, CSV: classes of fewer images are left out, and named.
        table: CSV: file with the labels, in the root; None: the one that has columns for image and label.
        columns: CSV: its columns, as image=<column>,label=<column>,split=<column>; None: by usual names.
        group_by: CSV: column whose equal values (a patient, a camera) stay on one side of test and
            validation ("none" takes no column); None: by usual names.
        on_unreadable: What happens to images that cannot be read: error (training does not start) or skip
            (they are listed and left out).
        normalization: Mean and standard deviation: the data set's own (else measured), measured or imagenet.
        imagenette_size: IMAGENETTE: which of fastai's archives; None: the one that is there, else full.
        orientation: Whether the orientation tags of cameras are obeyed (apply) or not (ignore: for boxes,
            parts and masks that were drawn on the pictures as they are stored).
        max_pixels: Pictures of more pixels are refused.
        bits: Bits that pictures stored in 16 use, where they don't say it themselves; None: by the largest
            number in a sample of the set.
        mask_label: Number of the object in masks/; None: what is bright, or every number but 0.
        workers: Loader processes (0: load in the main process); None: one per free core, at most 8.
        cache: Where decoded images are kept: ram (as far as there is room), disk (in the user's cache folder,
            for later runs too) or none.
    """

    name: str = "SYNTHBIRDS"
    root: str = "data"
    val_size: BelowOne = 0.2
    augment_factor: Annotated[int, Range(minimum=1, maximum=1000)] = 1
    crop_to_bbox: bool = False
    size: Side | None = None
    classes: Annotated[int, Range(minimum=1, maximum=200)] = 10
    train_images: Annotated[int, Range(minimum=1, maximum=10_000)] = 60
    test_images: Annotated[int, Range(minimum=1, maximum=10_000)] = 30
    seed: Seed = 0
    test_size: Annotated[float, Range(above=0, below=1)] = 0.2
    min_images: From1 = 1
    table: str | None = None
    columns: str | None = None
    group_by: str | None = None
    on_unreadable: Literal["error", "skip"] = "error"
    normalization: Literal["own", "measured", "imagenet"] = "own"
    imagenette_size: Literal["full", "320px", "160px"] | None = None
    orientation: Literal["apply", "ignore"] = "apply"
    max_pixels: From1 = 180_000_000
    bits: Annotated[int, Range(minimum=8, maximum=16)] | None = None
    mask_label: From0 | None = None
    workers: Annotated[int, Range(minimum=0, maximum=256)] | None = None
    cache: Literal["ram", "disk", "none"] = "ram"


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Args:
        name: Kind of network.
        feature_extractor: Backbone, e.g. resnet18, vgg16_bn, timm/tf_efficientnet_lite0; on tiles several,
            with + between them.
        feature_layer: Layer where the backbone is cut; None: its last feature layer, or, of tiles, the whole
            network's pooled output.
        tile: Run the backbone on overlapping tiles of this side, each alone: a tile is a cell and its field.
            In pixels, or below 1 as a share of the picture's shorter side.
        tile_stride: From one tile to the next, in pixels or as a share; None: half a tile.
        tile_input: Side in pixels that each tile is resized to, by itself; None: as it is.
        pretrained: Start the backbone from its published ImageNet weights.
        weights: File with the backbone's weights, in place of the published ones.
        num_prototypes: Number of prototypes, over all classes; None: ten of each class.
        prototype_dim: Channels of a prototype.
        prototype_kernel_size: Height and width of a prototype in cells.
        prototype_init: Where prototypes start: random, data (k-means centres of the own class's patches), or
            pure (of those that the patches most like them agree with about the class, unlike sky and water).
        init_weights: Initialise the add-on layers and prototypes as ProtoPNet does.
        prototype_activation: Similarity of a distance.
        add_on_layers_type: Layers between backbone and prototypes.
        add_on_init: Where the add-on's first layer starts: random, or data (random, as for features whose
            channels are standardised over the training images).
        add_on_activation: Last activation of the add-on layers.
        epsilon: Epsilon of the log similarity.
        learn_prototypes: Train the prototypes (off: they stay where they start, until projection).
        incorrect_strength: Linear head: initial weight from other classes' prototypes.
        correct_strength: Linear head: initial weight from the own class's prototypes; mean head: the factor
            of their mean.
        class_specific: Every prototype belongs to one class.
        readout_type: From similarities to logits: linear, sparse (own prototypes only), proto (their sum) or
            mean (their mean, times correct-strength).
        distance: Distance between patch and prototype.
    """

    name: Literal["protonet"] = "protonet"
    feature_extractor: str | None = None
    feature_layer: str | None = None
    tile: Annotated[float, Range(above=0, maximum=SIDE.maximum)] | None = None
    tile_stride: Annotated[float, Range(above=0, maximum=SIDE.maximum)] | None = None
    tile_input: Side | None = None
    pretrained: bool = True
    weights: str | None = None
    num_prototypes: Count | None = None
    prototype_dim: Count = 512
    prototype_kernel_size: Annotated[int, Range(minimum=1, maximum=100)] = 1
    prototype_init: Literal["random", "data", "pure"] = "random"
    init_weights: bool = True
    prototype_activation: Annotated[str, KeyOf("pixpnet.prototypes:SIMILARITIES")] = "log"
    add_on_layers_type: Annotated[str, KeyOf("pixpnet.prototypes:ADD_ONS")] = "regular"
    add_on_init: Literal["random", "data"] = "random"
    add_on_activation: Annotated[str, KeyOf("pixpnet.prototypes:ADD_ON_ACTIVATIONS")] = "sigmoid"
    epsilon: Positive = 1e-6
    learn_prototypes: bool = True
    incorrect_strength: Factor = -0.5
    correct_strength: Factor = 1.0
    class_specific: bool = True
    readout_type: Annotated[str, KeyOf("pixpnet.prototypes:HEADS")] = "linear"
    distance: Annotated[str, KeyOf("pixpnet.prototypes:DISTANCES")] = "l2"

    @property
    def network(self) -> str:
        """The backbone by its names, and the tiles that it looks at.

        >>> ModelConfig(feature_extractor="resnet18", feature_layer="layer2").network
        'resnet18/layer2'
        >>> ModelConfig(feature_extractor="resnet18", tile=0.25, tile_input=128).network
        'resnet18 on tiles of 25 %'
        """
        name = "/".join(filter(None, (self.feature_extractor, self.feature_layer)))
        return name if self.tile is None else f"{name} on tiles of {self.tile_side}"

    @property
    def tile_side(self) -> str:
        """Side of the tiles in words; "" where there are none.

        >>> ModelConfig(tile=80).tile_side
        '80 pixels'
        """
        if self.tile is None:
            return ""
        return f"{self.tile:g} pixels" if self.tile >= 1 else f"{100 * self.tile:g} %"


@dataclass(frozen=True)
class TrainConfig:
    """Training.

    Args:
        epochs: Number of epochs, those of the backbone stage included.
        backbone_epochs: First epochs that train the cut backbone as a plain classifier.
        start_from: Run (its folder, or a checkpoint) whose network is trained on; None: a new network.
        freeze_backbone: Never train the backbone: its features are computed once and kept on the disk, and
            all else learns from them.
        kept_views: With freeze-backbone: augmented views of each training image, drawn once, that are learned
            from beside the image itself.
        tie_prototypes: With freeze-backbone: from the start each prototype is a training patch, and stays it
            while the add-on layers learn, so that projection changes nothing.
        balance: Whether an epoch draws classes equally often, images of small ones several times: off, on, or
            auto (where the largest class has three times as many images as the smallest, or more).
        batch_size: Images per step and process.
        accumulate_grad_batches: Batches whose gradients are added before a step.
        checkpoint: Also keep, and test, the projected network that is best on validation.
        gradient_clip_norm: Largest norm of the gradient.
        hparam_tune: Find the largest batch size that fits on the GPU, and train with that one.
        stochastic_weight_averaging: Average the weights of the last quarter of the joint epochs.
        val_every_n_epoch: Epochs between validations; None: max(1, round(epochs / 50)).
        push_prototypes: Project prototypes onto training patches.
        push_every: Epochs between projections; also after the first and the last epoch.
        readout_push_epochs: Epochs of the head alone after each projection.
        prune: In the end take away prototypes that are nearly equal to another one, on the background or
            unused, each where no validation image is lost by it.
        push_duplicate_filter: What no two prototypes may share: their source image, their patch, or nothing.
        thumbnails: Keep the prototypes' training images in the run, at the network's size, so that it can be
            shown without its data set (off, where the images' licence forbids it).
        precision: Arithmetic of the network; auto: bf16 on GPUs that have it, else fp32.
        compile: Compile the network with torch.compile.
    """

    epochs: Count = 50
    backbone_epochs: Annotated[int, Range(minimum=0, maximum=COUNT.maximum)] = 0
    start_from: str | None = None
    freeze_backbone: bool = False
    kept_views: Annotated[int, Range(minimum=0, maximum=1000)] = 0
    tie_prototypes: bool = False
    balance: Annotated[str, KeyOf("pixpnet.training:BALANCES")] = "off"
    batch_size: Count = 128
    accumulate_grad_batches: From1 | None = None
    checkpoint: bool = False
    gradient_clip_norm: Positive | None = None
    hparam_tune: bool = False
    stochastic_weight_averaging: bool = False
    val_every_n_epoch: From1 | None = None
    push_prototypes: bool = True
    push_every: From1 = 10
    readout_push_epochs: Annotated[int, Range(minimum=0, maximum=COUNT.maximum)] = 20
    prune: bool = False
    push_duplicate_filter: Literal["sample", "patch", "none"] = "sample"
    thumbnails: bool = True
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False


@dataclass(frozen=True)
class TestConfig:
    """Testing.

    Args:
        batch_size: Images per batch; None: train.batch-size.
    """

    __test__ = False  # not a test case, whatever pytest makes of the name

    batch_size: Count | None = None


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimisation.

    Args:
        name: Any class of torch.optim, loosely spelled (adam, sgd, adam_w).
        lr: Learning rate of add-on layers and prototypes, and of the backbone in its own stage.
        fine_tune_lr: Learning rate of the backbone.
        readout_lr: Learning rate of the head.
        lr_scheduler: Schedule of the learning rates.
        lr_factor: Factor of the step and multistep schedules.
        lr_schedule: Epochs of the multistep schedule; the first is the period of the step schedule.
        weight_decay: Weight decay of backbone and add-on layers.
        momentum: Momentum, where the optimizer has one.
        warmup_period: Epochs of exponential warm-up and of frozen backbone.
    """

    name: str = "sgd"
    lr: Positive = 0.1
    fine_tune_lr: NotNegative = 1e-4
    readout_lr: NotNegative = 1e-4
    lr_scheduler: Annotated[str, KeyOf("pixpnet.training:SCHEDULES")] = "cosine"
    lr_factor: Positive = 0.1
    lr_schedule: tuple[From1, ...] = (100, 150)
    weight_decay: NotNegative = 2e-4
    momentum: BelowOne = 0.9
    warmup_period: From0 = 5


@dataclass(frozen=True)
class LossConfig:
    """Coefficients of the loss.

    Args:
        xent: Cross-entropy.
        label_smoothing: Share of the cross-entropy's target that is spread evenly over all classes.
        cluster: Distance to the nearest prototype of the true class.
        separation: Minus the distance to the nearest prototype of another class.
        l1: Size of the head's weights.
        forbidden: With start-from, of a run with patches forbidden by hand (`pixpnet prototypes RUN forbid`):
            similarity of each prototype to the forbidden patch nearest to it, as a share of the largest.
    """

    xent: Factor = 1.0
    label_smoothing: BelowOne = 0.0
    cluster: Factor = 0.8
    separation: Factor = 0.08
    l1: Factor = 1e-4
    forbidden: Factor = 1.0


@dataclass(frozen=True)
class Config:
    """All options of a run.

    Args:
        seed: The run's seed; None: a fresh one is drawn and recorded.
        gpus: GPUs to use; None: one if there is one, else the CPU.
        log_dir: Folder of the runs.
        run_id: Suffix of the data set's folder under log-dir.
        profile: Measure where the run's time goes, and write it to profile/ in the run directory.
        profiler: What is measured: time by phase (simple), by Python function (advanced), or by operation in
            some steps of each stage (pytorch).
        debug: Three batches per split; the data set's folder ends in _DEBUG.
        tb_logging: Histograms of activations and gradients in TensorBoard.
        dataset: The images.
        model: The network.
        train: Training.
        test: Testing.
        optimizer: Optimisation.
        loss: Coefficients of the loss.
    """

    seed: Seed | None = None
    gpus: From0 | None = None
    log_dir: str = "logs/protonet"
    run_id: Annotated[str, Text(without="\0/\\")] | None = None
    profile: bool = False
    profiler: Annotated[str, KeyOf("pixpnet.training:PROFILERS")] = "simple"
    debug: bool = False
    tb_logging: bool = False
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    test: TestConfig = field(default_factory=TestConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)


OPTIONS: Mapping[str, Option] = {option.name: option for option in options_of(Config)}

SECTIONS = tuple(dict.fromkeys(option.section for option in OPTIONS.values() if option.section))
