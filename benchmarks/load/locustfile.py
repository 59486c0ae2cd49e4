"""What people do to the service: ask about pictures, most of which were asked about before.

Run by `benchmarks/agent_load.py`, or by hand: locust -f benchmarks/load/locustfile.py --host http://127.0.0.1:8000
A 429 or 503 with Retry-After is an honest answer and counted apart; everything else that is no 200 is a failure.
"""

from __future__ import annotations

import base64
import os
import random
from pathlib import Path

import cv2
import numpy as np
from locust import FastHttpUser, constant_throughput, events, task

PICTURES = sorted((Path(__file__).parents[2] / "data" / "demo").glob("*.jpg"))
REPEATS = float(os.environ.get("REPEATS", "0.8"))  # share of questions about a picture that was sent before
A_MINUTE = float(os.environ.get("A_MINUTE", "1000"))
USERS = int(os.environ.get("USERS", "100"))
NAMES = ("chicken", "duck", "goose", "bird", "turkey", "pigeon")
FORMS = ("how many {0}s are there?", "find the {0}s", "is there a {0}?", "find the largest {0}", "where are the {0}s?",
         "how much of the picture do the {0}s cover?", "{0}s left of the {1}")  # fmt: skip
overheads: list[float] = []
stages: dict[str, list[float]] = {}
honest: dict[str, int] = {"429": 0, "503": 0}


def _url(pixels: np.ndarray) -> str:
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


ORIGINALS = [cv2.imread(str(picture)) for picture in PICTURES]
KNOWN = [_url(cv2.flip(one, 1) if turn else one) for one in ORIGINALS for turn in (0, 1)]


def fresh() -> str:
    """A picture that nobody has sent: one of the known ones, shifted and with other light."""
    pixels = np.roll(random.choice(ORIGINALS), random.randrange(640), axis=1)
    return _url(cv2.convertScaleAbs(pixels, alpha=random.uniform(0.8, 1.2), beta=random.uniform(-20, 20)))


class Person(FastHttpUser):
    """Asks now and then."""

    wait_time = constant_throughput(A_MINUTE / 60 / USERS)

    @task
    def ask(self) -> None:
        """One question about one picture."""
        repeat = random.random() < REPEATS
        words = random.choice(FORMS).format(*random.sample(NAMES, 2))
        content = [
            {"type": "text", "text": words},
            {"type": "image_url", "image_url": {"url": random.choice(KNOWN) if repeat else fresh()}},
        ]
        body = {"messages": [{"role": "user", "content": content}]}
        name = "known picture" if repeat else "new picture"
        with self.client.post("/v1/chat/completions", json=body, name=name, catch_response=True) as response:
            if response.status_code in (429, 503) and response.headers.get("Retry-After"):
                honest[str(response.status_code)] += 1
                response.success()
            elif response.status_code != 200:
                response.failure(f"{response.status_code}: {str(response.text)[:80]}")
            else:
                timings = response.json()["sam3"]["explain"]["timings_ms"]
                overheads.append(timings["total"] - timings.get("encode", 0.0) - timings.get("ground", 0.0))
                for stage, spent in timings.items():
                    stages.setdefault(stage, []).append(spent)


@events.quitting.add_listener
def _report(environment: object, **_: object) -> None:
    """What locust's own tables do not say."""
    import json

    where = os.environ.get("LOAD_REPORT")
    if where:
        Path(where).write_text(json.dumps({"overhead_ms": overheads, "stages": stages, "honest": honest}))
