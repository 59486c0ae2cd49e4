"""The verbs that measure: score, baseline, evaluate, negatives, compare. The arithmetic is in `sam3.eval`."""
