"""Phrases -> CLIP BPE token ids, with nothing but the `tokenizers` library.

The published checkpoint and sam3-lite use the same vocabulary; each checkpoint folder carries its
`tokenizer.json`, so the ONNX and Triton engines tokenise without PyTorch or transformers.

    Tokenizer.load(folder).encode(["red car", "hen"]) -> ids (2, T), mask (2, T), warnings
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from sam3.errors import BadCheckpoint

MAX_TOKENS = 32  # positions of the text encoder, start and end marks included
START, END = "<|startoftext|>", "<|endoftext|>"


@dataclass(frozen=True)
class Tokens:
    """A padded batch of phrases.

    Attributes:
        ids: int64 (N, T), padded with the end mark.
        mask: int64 (N, T), 1 for tokens, 0 for padding.
        warnings: one line for each phrase that was cut.
    """

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    warnings: tuple[str, ...]


class Tokenizer:
    """CLIP's lower-cased byte-pair encoding."""

    def __init__(self, bpe: object) -> None:
        self._bpe = bpe
        self.end_id: int = bpe.token_to_id(END)  # type: ignore[attr-defined]
        self.start_id: int = bpe.token_to_id(START)  # type: ignore[attr-defined]

    @classmethod
    def load(cls, folder: str | Path) -> Tokenizer:
        """From `tokenizer.json` in a checkpoint folder.

        Raises:
            BadCheckpoint: the file is missing or not a tokenizer.
        """
        from tokenizers import Tokenizer as Bpe

        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            raise BadCheckpoint(
                f"{path}: missing. A checkpoint folder holds config.json, model.safetensors and tokenizer.json."
            )
        try:
            bpe = Bpe.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise BadCheckpoint(f"{path}: not a tokenizer file ({error}). Download the checkpoint again.") from error
        bpe.no_padding()
        bpe.no_truncation()
        return cls(bpe)

    def encode(self, phrases: Sequence[str], *, length: int | None = None) -> Tokens:
        """Tokenise phrases into one padded batch.

        Args:
            phrases: at least one; a phrase longer than 30 tokens is cut, with a warning.
            length: pad to this many tokens (at most 32) instead of to the longest phrase.
        """
        rows, warnings = [], []
        for phrase in phrases:
            ids = self._bpe.encode(phrase.strip().lower(), add_special_tokens=False).ids  # type: ignore[attr-defined]
            if len(ids) > MAX_TOKENS - 2:
                warnings.append(f"phrase of {len(ids)} tokens cut to {MAX_TOKENS - 2}: {phrase[:60]!r}")
                ids = ids[: MAX_TOKENS - 2]
            rows.append([self.start_id, *ids, self.end_id])
        width = length or max(len(row) for row in rows)
        batch = np.full((len(rows), width), self.end_id, np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for at, row in enumerate(rows):
            batch[at, : len(row)] = row
            mask[at, : len(row)] = 1
        return Tokens(batch, mask, tuple(warnings))


def build_tokenizer_file(target: str | Path) -> None:
    """Write CLIP's vocabulary (shipped in open-clip-torch) as a `tokenizer.json`; done once per starter checkpoint."""
    import gzip
    import importlib.util

    from tokenizers import Regex, normalizers, pre_tokenizers
    from tokenizers import Tokenizer as Bpe
    from tokenizers.decoders import ByteLevel as ByteLevelDecoder
    from tokenizers.models import BPE

    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise BadCheckpoint(
            "open-clip-torch is not installed; it carries the BPE vocabulary. Install the `pack` extra."
        )
    source = Path(next(iter(spec.submodule_search_locations))) / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(source.read_bytes()).decode("utf-8").split("\n")
    merges = [cast(tuple[str, str], tuple(line.split())) for line in lines[1 : 49152 - 256 - 2 + 1]]
    # the order of OpenAI's table: printable bytes first, then the rest
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    tokens = [
        *letters,
        *[letter + "</w>" for letter in letters],
        *["".join(pair) for pair in merges],
        START,
        END,
    ]
    bpe = Bpe(
        BPE(
            vocab={token: number for number, token in enumerate(tokens)},
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            unk_token=END,
        )
    )
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = ByteLevelDecoder()
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    bpe.save(str(target), pretty=False)
