"""Is everything there that the pipeline leans on? `sam3-agent doctor` answers; see `check.py`."""
