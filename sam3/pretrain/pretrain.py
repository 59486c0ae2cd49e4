"""`sam3-agent pretrain`: sam3-lite from its parts, in three resumable steps.

1. text: the small text encoder learns the embeddings of a large one;
2. align: grid cells against all names of the pack, through the attention that detection will use;
3. detect: detection, masks and presence on composed scenes.

Each step leaves a file in `out`; killed at any moment, the same command goes on. Config: configs/pretrain.yaml.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sam3.checkpoint import lite_config, save_checkpoint
from sam3.config import typed
from sam3.detector import Sam3Detector
from sam3.errors import BadConfig
from sam3.files import atomic_write
from sam3.pretrain import text as words
from sam3.pretrain.align import TRUNK, AlignConfig, align, even_out, name_states
from sam3.pretrain.dense import DenseConfig, PretrainModule
from sam3.pretrain.held_names import HeldNames
from sam3.pretrain.held_out import HeldOutFigures, unseen_stream
from sam3.pretrain.start import WHOLE, go_on_with, load_imagenet_trunk, spread_queries, take_over, wake
from sam3.pretrain.stream import SceneMaker, SceneStream, StreamConfig, hold_back
from sam3.scenes.pack import Pack
from sam3.scenes.phrases import Vocabulary
from sam3.tokenizer import Tokenizer, build_tokenizer_file
from sam3.train.log import set_aside, whole_log
from sam3.train.loss_config import LossConfig
from sam3.train.module import OptimizerConfig

# what ImageNet knows about edges and textures stays; the deeper stages learn how things are drawn
FROZEN = tuple(f"{TRUNK}.{name}" for name in ("conv_stem", "bn1", "blocks.0", "blocks.1", "blocks.2"))


@dataclass
class TextStep:
    """Distillation of the text encoder."""

    phrases: int = 130_000
    steps: int = 2600


@dataclass
class DetectStep:
    """Detection training.

    Attributes:
        workers: processes that compose scenes.
        start_from: an earlier version whose detection layers are taken over.
        whole: take over all of it, text encoder and alignment included: the first two steps are left out.
    """

    steps: int = 6000
    save_every: int = 200
    evaluate_every: int = 1000
    workers: int = 1
    start_from: str | None = None
    whole: bool = False


@dataclass
class PretrainConfig:
    """configs/pretrain.yaml, typed."""

    seed: int = 7
    out: str = "outputs/pretrain"
    pack: str | None = None
    threads: int = 2
    precision: str = "bf16-mixed"
    text: TextStep = field(default_factory=TextStep)
    align: AlignConfig = field(default_factory=AlignConfig)
    detect: DetectStep = field(default_factory=DetectStep)
    dense: DenseConfig = field(default_factory=DenseConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)


def pretrain(config: PretrainConfig) -> Path:
    """Run what is left of the three steps; returns the folder of the finished checkpoint.

    Raises:
        BadConfig: `detect.whole` without a checkpoint of this shape to go on with, or `out` holds a run that began
            otherwise. BadCheckpoint: the checkpoint cannot be read.
    """
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    model = Sam3Detector(lite_config())
    if config.detect.whole:
        go_on_with(model, config.detect.start_from, out)
    elif (out / WHOLE).is_file():
        raise BadConfig(
            f"{out} holds a run with detect.whole=true: say so again, or choose another folder.", field="out"
        )
    if not (out / "tokenizer.json").is_file():
        build_tokenizer_file(out / "tokenizer.json")
    tokenizer = Tokenizer.load(out)
    pack = Pack.load(config.pack)
    cutouts = pack.select(holdout=[""])  # never the held-out style, never the photographed chickens of the barnyard
    vocabulary = Vocabulary(cutouts)
    maker = SceneMaker(cutouts, hold_back(pack.backgrounds)[0], config.stream)
    unseen = unseen_stream(pack, tokenizer, config.stream)
    if not config.detect.whole:
        text_and_align(model, maker, vocabulary, tokenizer, unseen, config)
        if config.detect.start_from and not (out / "last.ckpt").is_file():
            take_over(model, config.detect.start_from)
    detect(model, SceneStream(maker, vocabulary, tokenizer), unseen, config, out)
    curves = {"curve.csv": whole_log(out / "log")}
    if (out / "align.csv").is_file():
        curves["align.csv"] = (out / "align.csv").read_text()
    return save_checkpoint(out / "sam3-lite", model, out / "tokenizer.json", dtype=torch.float16, extra=curves)


def text_and_align(
    model: Sam3Detector, maker: SceneMaker, vocabulary: Vocabulary, tokenizer: Tokenizer, unseen: SceneStream,
    config: PretrainConfig,
) -> None:  # fmt: skip
    """The first two steps, or what is left of them; the model is as they leave it."""
    out = Path(config.out)
    if not (out / "text.pt").is_file():
        text_step(model, vocabulary, tokenizer, config, out)
        save_state(model, out / "text.pt")
    if not (out / "aligned.pt").is_file():
        load_state(model, out / "text.pt")
        watch = HeldNames(unseen, out / "align.csv")
        align(model, maker, vocabulary, tokenizer, config.align, FROZEN, out / "align.ckpt", watch)
        scenes = SceneStream(maker, vocabulary, tokenizer).batch(0).pixels
        even_out(model, scenes, name_states(model, vocabulary, tokenizer))
        spread_queries(model)
        save_state(model, out / "aligned.pt")
    load_state(model, out / "aligned.pt")


def text_step(
    model: Sam3Detector, vocabulary: Vocabulary, tokenizer: Tokenizer, config: PretrainConfig, out: Path
) -> None:
    """Distil the text encoder, give the backbone its ImageNet weights."""
    load_imagenet_trunk(model)
    wake(model)
    cache = out / "teacher.npz"
    if not cache.is_file():
        phrases = words.phrases(vocabulary.names, config.text.phrases, config.seed)
        embeddings = words.teach(phrases)
        with atomic_write(cache, "wb") as stream:
            np.savez(stream, phrases=np.array(phrases), embeddings=embeddings.astype(np.float16))
    with np.load(cache) as held:
        phrases, embeddings = held["phrases"].tolist(), held["embeddings"].astype(np.float32)
    size = model.text_projection.out_features
    projection = nn.Linear(model.config.text_config.hidden_size, size)  # type: ignore[union-attr]
    teacher = words.Teacher.fit(embeddings, size).reduce(embeddings)
    words.distill(model.text_encoder, projection, tokenizer, phrases, teacher, steps=config.text.steps)
    with torch.no_grad():
        # the teacher's vectors have length 1, what the detector's layers are made for has entries of variance 1
        model.text_projection.weight.copy_(projection.weight * size**0.5)
        model.text_projection.bias.copy_(projection.bias * size**0.5)


def detect(model: Sam3Detector, stream: SceneStream, unseen: SceneStream, config: PretrainConfig, out: Path) -> None:
    """Detection training under Lightning; goes on from `out/last.ckpt` if it is there."""
    import lightning as L
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger
    from torch.utils.data import DataLoader

    # on a CPU the flash kernel's backward pass costs more than writing the attention out
    model.set_attn_implementation("eager" if not torch.cuda.is_available() else "sdpa")
    last = out / "last.ckpt"
    module = PretrainModule(
        model,
        config.loss,
        config.optimizer,
        config.detect.steps,
        (*FROZEN, "text_encoder"),
        dense=config.dense,
        names=name_states(model, stream.vocabulary, stream.tokenizer),
    )
    module.train()  # what is frozen in eval mode from the first step on: Lightning takes the modes as they are
    stream.start = int(torch.load(last, weights_only=True, map_location="cpu")["global_step"]) if last.is_file() else 0
    loader = DataLoader(
        stream,
        batch_size=None,
        num_workers=config.detect.workers,
        prefetch_factor=4 if config.detect.workers else None,
    )
    set_aside(out / "log")
    trainer = L.Trainer(
        max_steps=config.detect.steps,
        precision=config.precision,  # type: ignore[arg-type]
        gradient_clip_val=config.optimizer.clip,
        log_every_n_steps=20,
        logger=CSVLogger(out, name="log", version=""),
        callbacks=[
            ModelCheckpoint(
                out, filename="last", every_n_train_steps=config.detect.save_every, enable_version_counter=False
            ),
            HeldOutFigures(unseen, config.detect.evaluate_every),
        ],
        enable_model_summary=False,
    )
    trainer.fit(module, loader, ckpt_path=last if last.is_file() else None, weights_only=True)


def save_state(model: nn.Module, path: Path) -> None:
    """Between the steps: a plain state dict, written whole or not at all."""
    with atomic_write(path, "wb") as stream:
        torch.save(model.state_dict(), stream)


def load_state(model: nn.Module, path: Path) -> None:
    """The counterpart of `save_state`."""
    model.load_state_dict(torch.load(path, weights_only=True))


def install(source: Path, target: Path) -> None:
    """Copy a finished checkpoint into the package."""
    shutil.copytree(source, target, dirs_exist_ok=True)


def load_config(path: Path, overrides: Sequence[str] = ()) -> PretrainConfig:
    """configs/pretrain.yaml with overrides ("detect.steps=100"), typed.

    Raises:
        BadConfig: the file is missing, or a key or value is not what `PretrainConfig` expects.
    """
    from omegaconf import OmegaConf

    if not path.is_file():
        raise BadConfig(f"{path}: no such config. Try configs/pretrain.yaml.", field="config")
    values = OmegaConf.merge(OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides)))
    return typed(PretrainConfig, values, str(path))
