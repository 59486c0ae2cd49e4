"""Plans that were carried out: plan + pictures + weights + options -> outcome. In this process, and in Redis if set.

The same question about the same picture, from whomever, is then answered without the engine. Called by
`sam3_agent.conversation`; a value that cannot be read is no value.
"""

from __future__ import annotations

from collections.abc import Sequence

from sam3_agent.cache.budget import Budget
from sam3_agent.cache.encoding import pack_outcome, unpack_outcome
from sam3_agent.cache.keys import Part, fingerprint
from sam3_agent.cache.redis_store import RedisStore
from sam3_agent.execution.outcome import Outcome
from sam3_agent.understanding.plan import Plan


class ResultCache:
    """Outcomes by what they depend on.

    Args:
        max_bytes: held in this process. ttl: seconds that an outcome is believed here.
        redis: shared between processes; may be None.
    """

    def __init__(self, max_bytes: int, *, ttl: float | None = None, redis: RedisStore | None = None) -> None:
        self.held: Budget[str, bytes] = Budget(max_bytes, ttl=ttl)
        self.redis = redis

    @staticmethod
    def key(plan: Plan, pictures: Sequence[tuple[int, bytes]], version: str, options: tuple[Part, ...]) -> str:
        """The key of an outcome.

        Args:
            plan: resolved. pictures: number and content hash of each picture in its scope.
            version: of the weights and the engine. options: threshold and whatever else changes the answer.
        """
        shown = tuple((number, content) for number, content in pictures)
        return fingerprint("result", plan=plan.model_dump_json(), pictures=shown, version=version, options=options)

    def get(self, key: str) -> Outcome | None:
        """The outcome, if it is known and readable."""
        data = self.held.get(key)
        fresh = data is None and self.redis is not None
        if data is None and self.redis is not None:
            data = self.redis.get(key)
        if data is None:
            return None
        try:
            outcome = unpack_outcome(data)
        except ValueError:
            self.held.pop(key)
            if self.redis is not None:
                self.redis.forget(key)
            return None
        if fresh:
            self.held.put(key, data, len(data))
        return outcome

    def put(self, key: str, outcome: Outcome) -> None:
        """Keep an outcome about pictures."""
        data = pack_outcome(outcome)
        self.held.put(key, data, len(data))
        if self.redis is not None:
            self.redis.put(key, data)
