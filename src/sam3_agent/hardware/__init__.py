"""Is this machine up to it? `sam3-agent check-hardware` answers; see `check.py`."""
