"""How features of a frozen image encoder are kept: the `cache` group of a training config."""

from __future__ import annotations

from dataclasses import dataclass

from sam3.errors import BadConfig


@dataclass
class CacheConfig:
    """Off by default; needs `data.views` of 1 or more, since what is stored must come up again.

    Attributes:
        root: folder for the caches of all weights and transforms.
        cut: where the features are taken: behind the "encoder", or behind its "backbone" (a fifth of the bytes at 1008
            px; the neck is run in every step); auto: behind the widest part that is frozen.
        store: fp32, bf16, fp8 (e4m3 with a scale a channel), or auto: bf16 in mixed precision, else fp32.
        budget_gb: 10^9 bytes that all caches under `root` may take. Caches of other weights go first, the longest
            unused one before the others; views that still find no room are encoded in every step.
        shard_mb: size of one file, 10^6 bytes.
        batch: views encoded at a time.
        words: also keep what a frozen text encoder leaves of each phrase, in memory.
    """

    enabled: bool = False
    root: str = "outputs/features"
    cut: str = "auto"
    store: str = "auto"
    budget_gb: float = 50.0
    shard_mb: float = 256.0
    batch: int = 16
    words: bool = True

    def check(self) -> None:
        """Hold the values against what they may be.

        Raises:
            BadConfig: names the key.
        """
        if self.store not in ("auto", "fp32", "bf16", "fp8"):
            raise BadConfig(f"cache.store={self.store}: expected auto, fp32, bf16 or fp8.", field="cache.store")
        if self.cut not in ("auto", "encoder", "backbone"):
            raise BadConfig(f"cache.cut={self.cut}: expected auto, encoder or backbone.", field="cache.cut")
        for name in ("budget_gb", "shard_mb", "batch"):
            if not getattr(self, name) > 0:
                raise BadConfig(f"cache.{name}={getattr(self, name)}: expected more than 0.", field=f"cache.{name}")
