"""Pictures that must stay together: one source, equal bytes or nearly the same picture, also in chains."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sam3_agent.etl.likeness import Likeness, near_pairs


def group_pictures(sources: Sequence[str], looks: Sequence[Likeness]) -> NDArray[np.int32]:
    """Group number of each picture, (N,), numbered by first appearance.

    Args:
        sources: the source of each picture.
        looks: its hashes.
    """
    links = [_links(sources), _links([look.digest for look in looks]), _near_links(looks)]
    left, right = np.concatenate(links, axis=1)
    count = len(sources)
    graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    _, first, group = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))  # the solver's own numbering may change with its version
    return rank[group].astype(np.int32)


def _links(keys: Sequence[Hashable]) -> NDArray[np.intp]:
    """(2, M): every index with the first index of the same key."""
    first: dict[Hashable, int] = {}
    pairs = [(first.setdefault(key, index), index) for index, key in enumerate(keys)]
    return np.array(pairs, np.intp).reshape(-1, 2).T


def _near_links(looks: Sequence[Likeness]) -> NDArray[np.intp]:
    index = np.array([i for i, look in enumerate(looks) if look.dhash is not None], np.intp)
    hashes = np.array([look.dhash for look in looks if look.dhash is not None], np.uint64)
    pairs = [(index[i], index[j]) for i, close in near_pairs(hashes) for j in close]
    return np.array(pairs, np.intp).reshape(-1, 2).T
