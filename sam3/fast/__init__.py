"""The PyTorch detector rewritten for inference: the same weights and answers, less work.

Exported graphs are traced from it and the torch engine's fast path runs it; `sam3.detector` stays the reference.
Every optimisation is a switch (`sam3.fast.switches`), `benchmarks/torch_switches.py` measures each.
"""
