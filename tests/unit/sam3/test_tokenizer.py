"""Our tokenizer file gives the ids of CLIP's published tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam3.checkpoint import WEIGHTS
from sam3.errors import BadCheckpoint
from sam3.tokenizer import MAX_TOKENS, Tokenizer, build_tokenizer_file


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer_file(folder / "tokenizer.json")
    return Tokenizer.load(folder)


@pytest.mark.parametrize(
    "phrase", ["red car", "A Hen, sitting!", "chicken's 23 übers", "don't   stop", "日本の鶏 🐔", "e-mail"]
)
def test_ids_are_those_of_open_clip(tokenizer: Tokenizer, phrase: str) -> None:
    from open_clip.tokenizer import SimpleTokenizer

    expected = SimpleTokenizer(context_length=MAX_TOKENS)([phrase])[0].numpy()
    tokens = tokenizer.encode([phrase])
    length = int(tokens.mask.sum())
    np.testing.assert_array_equal(tokens.ids[0, :length], expected[:length])
    assert not expected[length:].any()


def test_a_long_phrase_is_cut_with_a_warning_and_still_ends(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(["very " * 50])
    assert tokens.ids.shape == (1, MAX_TOKENS) and tokens.ids[0, -1] == tokenizer.end_id
    assert "cut to 30" in tokens.warnings[0]


def test_shorter_phrases_are_padded_and_masked(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(["hen", "small red hen"])
    assert tokens.mask.sum(1).tolist() == [3, 5] and tokens.ids.shape == (2, 5)


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"tokenizer\.json: missing"):
        Tokenizer.load(tmp_path)


def test_the_starter_weights_carry_the_same_file(tokenizer: Tokenizer) -> None:
    phrases = ["hen", "two red apples next to a tractor"]
    ours = Tokenizer.load(WEIGHTS / "sam3-lite").encode(phrases)
    np.testing.assert_array_equal(ours.ids, tokenizer.encode(phrases).ids)
