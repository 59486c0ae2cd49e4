"""How long the grammar takes: median and 99th percentile over every query of the variant tables.

    python benchmarks/parser_latency.py [--repeat 5]

CPU time of one thread, first reading of each word list excluded. The bound is 2 ms median and 10 ms at p99, and 10 ms for any text
of 250 to 2,000 characters: words thrown together, and one pattern repeated to the end.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import numpy as np

from sam3_agent.understanding import understand

TABLES = sorted((Path(__file__).parent.parent / "tests/unit/understanding").glob("*.txt"))


def queries() -> list[str]:
    """The queries of the tables, without expectations."""
    rows = [line for table in TABLES for line in table.read_text(encoding="utf-8").splitlines() if "->" in line]
    return [row.rsplit("->", 1)[0].split(":", 1)[-1].lstrip("+ ").strip() for row in rows]


PATTERNS = (
    "not the ", "dogs left of ", "without the ", "dogs that are ", "is there a dog or ", "a.b.c.", "how many dogs? ", "and count ",
    "the the ", "at 0:10 ", "between 0:10 and 0:20 ", "1 2 3 ", "(", "'", "🐕", "🐕🐈", "the dog and the cat and ", "find the dog, ",
    "more dogs than cats ", "in the first picture ", "please ", "which of them is the ", "There is a red car on the left. ",
    "the largest ", "when does the dog leave ", "of the ", "find the not the ", "any - ", "half of the ", "a-b-",
)  # fmt: skip
LONGEST = 2000  # characters
LENGTHS = (250, 500, 1000, LONGEST)


def worst(number: int = 300, seed: int = 7) -> list[str]:
    """Texts of 2,000 characters: one pattern over and over, random words of the tables, and words that nobody knows."""
    chance = random.Random(seed)
    words = sorted({word for query in queries() for word in query.split()})
    texts = ["find " + pattern * LONGEST for pattern in PATTERNS]
    for _ in range(number // 3):
        known = " ".join(chance.choice(words) for _ in range(LONGEST))
        few = " ".join(chance.choice(chance.sample(words, 6)) for _ in range(LONGEST // 2))
        letters = " ".join("".join(chance.choices("aeinorstl", k=chance.randint(3, 9))) for _ in range(LONGEST // 2))
        texts += [known, few, letters]
    return [text[:LONGEST] for text in texts]


def milliseconds(texts: list[str], repeat: int) -> np.ndarray:
    """CPU milliseconds of each parse."""
    for text in texts if repeat > 1 else ():
        understand(text, 2)
    spent = []
    for text in texts * repeat:
        start = time.process_time_ns()
        understand(text, 2)
        spent.append((time.process_time_ns() - start) / 1e6)
    return np.array(spent)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    texts = queries()
    spent = milliseconds(texts, parser.parse_args().repeat)
    print(
        f"{len(texts)} queries: median {np.median(spent):.2f} ms, p99 {np.percentile(spent, 99):.2f} ms, max {spent.max():.2f} ms"
    )
    for length in LENGTHS:
        texts = [text[:length] for text in worst()]
        spent = np.minimum(milliseconds(texts, 1), milliseconds(texts, 1))
        print(f"{len(texts)} texts of {length} characters: median {np.median(spent):.2f} ms, max {spent.max():.2f} ms")
        print(f"slowest: {texts[int(spent.argmax())][:60]!r}")


if __name__ == "__main__":
    main()
