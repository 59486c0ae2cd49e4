"""How long the grammar takes: median and 99th percentile over every query of the variant tables.

    python benchmarks/parser_latency.py [--repeat 5]

CPU time of one thread, first reading of each word list excluded. The bound is 2 ms median and 10 ms at p99.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from sam3_agent.understanding import understand

TABLES = sorted((Path(__file__).parent.parent / "tests/unit/understanding").glob("*.txt"))


def queries() -> list[str]:
    """The queries of the tables, without expectations."""
    rows = [line for table in TABLES for line in table.read_text(encoding="utf-8").splitlines() if "->" in line]
    return [row.rsplit("->", 1)[0].split(":", 1)[-1].lstrip("+ ").strip() for row in rows]


def milliseconds(texts: list[str], repeat: int) -> np.ndarray:
    """CPU milliseconds of each parse."""
    for text in texts:
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


if __name__ == "__main__":
    main()
