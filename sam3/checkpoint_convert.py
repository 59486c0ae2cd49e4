"""Meta's own SAM 3 checkpoint files -> a checkpoint folder that transformers' `Sam3Model` loads.

A `.pt` file is a pickle, and a pickle may run code: it is read with `weights_only=True`, which builds tensors
and nothing else. The names are those of the published image detector; the weights of its video tracker, and
caches that are computed anew, are left out. Try it: `sam3-agent download sam3.pt --to models/sam3`.
"""

from __future__ import annotations

import pickle
import re
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam3.checkpoint_names import rename
from sam3.errors import BadCheckpoint

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Sam3Config

State = dict[str, "Tensor"]

# query, key and value in one tensor there, three here
JOINED = re.compile(r"(.*\.)(?:qkv\.|in_proj_)(weight|bias)$")
WANTS = re.compile(r"(?:GLOBAL|class|function) `?([\w.]+\.\w+)")


def convert_state(state: State, expected: dict[str, tuple[int, ...]]) -> State:
    """Rename, split and turn the weights of a detector.

    Args:
        state: name -> tensor, in Meta's names or ours.
        expected: name -> shape of every weight of the model to fill.

    Returns:
        name -> tensor, for the names in `expected` that were found; the rest of `state` is left out.
    """
    found: State = {}
    for old, tensor in state.items():
        name = rename(old)
        if joined := JOINED.match(name):
            parts = [part.clone() for part in tensor.chunk(3)]  # copies: safetensors refuses shared memory
            found.update({f"{joined[1]}{p}_proj.{joined[2]}": part for p, part in zip("qkv", parts, strict=True)})
        elif name.endswith("position_embeddings") and tensor.ndim == 3:
            extra = tensor.shape[1] - expected.get(name, tensor.shape)[1]
            found[name] = tensor[:, 1:].clone() if extra == 1 else tensor  # the class token is not used
        elif old.endswith("encoder.text_projection"):
            found[name] = tensor.T.contiguous()  # a bare parameter there, the weight of a linear layer here
        else:
            found[name] = tensor
    return {name: tensor for name, tensor in found.items() if name in expected}


def convert_pt(source: str | Path, target: str | Path, *, config: Sam3Config | None = None) -> Path:
    """Convert a checkpoint file into a checkpoint folder; nothing is written unless every weight is there.

    Args:
        source: `.pt`, `.pth` or `.safetensors`, in Meta's names or transformers'.
        target: the folder to write; replaced when it exists.
        config: of the model; that of the published one when None.

    Raises:
        BadCheckpoint: damaged, wants to run code, or not SAM 3; the message names a weight that is missing.
        BadInput: `target` cannot be written.
    """
    import torch
    from transformers import Sam3Config

    from sam3.backbone import register
    from sam3.checkpoint import save_checkpoint
    from sam3.detector import Sam3Detector
    from sam3.tokenizer import build_tokenizer_file

    register()
    with torch.device("meta"):  # names and shapes only
        model = Sam3Detector(config or Sam3Config())
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    state = convert_state(read_weights(source), expected)
    _check_complete(source, state, expected)
    model.load_state_dict(state, strict=True, assign=True)
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer_file = Path(scratch) / "tokenizer.json"
        build_tokenizer_file(tokenizer_file)  # every SAM 3 reads CLIP's vocabulary
        return save_checkpoint(target, model, tokenizer_file)


def read_weights(source: str | Path) -> State:
    """Tensors of a `.pt`, `.pth` or `.safetensors` file, without running anything that is in it.

    Raises:
        BadCheckpoint: missing, damaged, wants to run code, or holds something other than named tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(source)
    if not path.is_file():
        raise BadCheckpoint(f"{path}: no such file.")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            mapped = zipfile.is_zipfile(path)  # the format of torch before 1.6 cannot be mapped
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        if wants := WANTS.search(str(error)):
            raise BadCheckpoint(
                f"{path}: refused. It is more than plain weights: it asks to run {wants[1]}. Get it from its "
                "maker as safetensors."
            ) from error
        raise BadCheckpoint(
            f"{path}: refused. It is damaged, or a pickle of more than plain weights. Download it again, or get "
            "it from its maker as safetensors."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise BadCheckpoint(f"{path}: cut short or damaged ({reason}). Download it again.") from error
    for key in ("model", "state_dict"):  # training loops wrap the weights
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise BadCheckpoint(f"{path}: holds {type(content).__name__} and no named weights. Is it a checkpoint?")
    return {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}


def _check_complete(source: str | Path, state: State, expected: dict[str, tuple[int, ...]]) -> None:
    """Every expected weight is there in its shape."""
    missing = [name for name in expected if name not in state]
    if missing:
        raise BadCheckpoint(
            f"{source}: not a whole SAM 3 detector: {len(missing)} of {len(expected)} weights are missing, "
            f"e.g. {missing[0]}. Get sam3.pt or model.safetensors of facebook/sam3."
        )
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise BadCheckpoint(
                f"{source}: {name} is {tuple(state[name].shape)}, expected {shape}. Another size of SAM 3?"
            )
