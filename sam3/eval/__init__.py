"""Everything that is computed from predictions and ground truth.

`saco` and `predictions` read and check the files, `overlap` and `matching` say which detection is which
annotation, `cgf1` turns that into the metric; `bootstrap`, `sweep`, `calibration`, `negatives`, `compare` and
`mistakes` reuse its pairs. `evaluate` runs a checkpoint over a data set and calls them all.
"""
