"""configs/sam3_chicken_finetune.yaml, composed by Hydra and typed at the door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam3.config import typed
from sam3.errors import BadConfig
from sam3.train.augment import AugmentConfig
from sam3.train.cache_config import CacheConfig
from sam3.train.limits import check
from sam3.train.lora_config import LoraConfig
from sam3.train.loss_config import LossConfig
from sam3.train.module import OptimizerConfig


@dataclass
class ModelConfig:
    """What is trained: `batch_size` a number or "auto"; `frozen` names submodules that do not learn.

    `focal_alpha`, `focal_gamma` and `class_overlap` are here, since how sure a model's queries are, and how many
    answer for one object, is a matter of its training; `mean_decay` since a running mean of large weights needs room.
    """

    checkpoint: str = "sam3-lite"
    learning_rate: float = 1e-5
    clip: float = 0.1
    batch_size: Any = 8
    focal_alpha: float = 0.5
    focal_gamma: float = 2.0
    class_overlap: float = 1.0
    mean_decay: float = 0.0
    frozen: tuple[str, ...] = ("vision_encoder.backbone", "text_encoder")
    gradient_checkpointing: bool = False
    lora: LoraConfig = field(default_factory=LoraConfig)


@dataclass
class DataConfig:
    """Where the pairs are; `views` of 1 or more fixes in how many ways a picture is augmented, 0 makes new ones."""

    train: str = "data/splits/train.json"
    val: str = "data/splits/val.json"
    images: str = "data/raw/images"
    workers: int = 1
    views: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass
class RunConfig:
    """Length and place of the run; `accumulate` batches make one optimiser step.

    `batch_size` counts the pairs of all processes together, so a run keeps its course on more or fewer of them. `start`
    is a checkpoint of the model's shape to begin with, "" that of the model.
    """

    max_epochs: int = 30
    batch_size: Any = 8
    accumulate: int = 1
    seed: int = 7
    start: str = ""
    out: str = "models/finetuned"
    work: str = "outputs/finetune"


@dataclass
class TrainerConfig:
    """How Lightning drives it; `mean_decay` in (0, 1) keeps a running mean of the weights, 0 the last ones."""

    precision: str = "auto"
    save_every: int = 20
    validate_every: int = 5
    keep: int = 3
    threads: int = 0
    mean_decay: float = 0.0


@dataclass
class TrainConfig:
    """The whole of it."""

    concept: str = "chicken"
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: RunConfig = field(default_factory=RunConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)


def compose(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Compose a config file with Hydra overrides ("train.max_epochs=1", "model=sam3").

    Raises:
        BadConfig: the file is missing, or a key or value is not what the dataclasses above expect.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    file = Path(path).resolve()
    if not file.is_file():
        raise BadConfig(f"{path}: no such config. Try configs/sam3_chicken_finetune.yaml.", field="config")
    try:
        with initialize_config_dir(str(file.parent), version_base="1.3"):
            raw = hydra_compose(file.stem, overrides=list(overrides))
        OmegaConf.resolve(raw)
    except (HydraException, OmegaConfBaseException) as error:
        first = str(error).strip().splitlines()[0]
        raise BadConfig(f"{path}: {first} Compare with the groups in {file.parent}.", field="config") from error
    config = typed(TrainConfig, raw, str(path))
    config.model.checkpoint = config.train.start or config.model.checkpoint
    check(config)
    return config


def plain(config: TrainConfig) -> dict[str, Any]:
    """The resolved config as plain values, for training.json and trackers."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.structured(config), resolve=True)  # type: ignore[return-value]
