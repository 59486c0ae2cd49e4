"""Class names as people write them -> concept, ambiguous, or some other object; folder names -> side."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from sam3_agent.params import Params

Meaning = Literal["concept", "ambiguous", "other"]
Side = Literal["positive", "negative", "open", "foreign"]


@lru_cache(maxsize=4096)
def plain(name: str) -> str:
    """A name without case and with "_" or "-" as a space: "Unknown_Bird" -> "unknown bird" (NFC)."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).strip().casefold()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What class and folder names mean for one concept; `concept_names` and `ambiguous` are plain."""

    concept: str
    concept_names: frozenset[str]
    ambiguous: frozenset[str]

    @classmethod
    def of(cls, concept: str, synonyms: Iterable[str] = (), ambiguous: Iterable[str] = ()) -> Vocabulary:
        """Build from names in any spelling."""
        names = frozenset(plain(name) for name in (concept, *synonyms))
        return cls(concept, names, frozenset(map(plain, ambiguous)) - names)

    @classmethod
    def from_params(cls, params: Params) -> Vocabulary:
        """The vocabulary of params.yaml: concept, etl.synonyms[concept], etl.ambiguous."""
        return cls.of(params.concept, params.names_of_concept(), params.etl.ambiguous)

    def meaning(self, class_name: str) -> Meaning:
        """What a class name in a label file stands for."""
        name = plain(class_name)
        if name in self.concept_names:
            return "concept"
        return "ambiguous" if name in self.ambiguous else "other"

    def side(self, folder: str) -> Side:
        """What a first-level folder of images/ promises.

        Returns:
            "positive" for `<concept>`, "negative" for `not_<concept>`, "foreign" for `not_` something else
            (its unlabelled pictures were never looked at with this concept in mind), else "open".
        """
        name = plain(folder)
        if name in self.concept_names:
            return "positive"
        if not name.startswith("not "):
            return "open"
        return "negative" if name[4:] in self.concept_names else "foreign"
