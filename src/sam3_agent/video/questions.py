"""A question about a video, answered frame by frame while it is being looked at.

for news in watch(agent, "when does the first duck appear?", "clip.mp4"):
    ...      # FrameSeen for every frame as it is done, and the Reply in the end
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

from sam3_agent.conversation import Agent, Session
from sam3_agent.reply import Reply
from sam3_agent.video.clip import FrameSeen


def watch(agent: Agent | Session, query: str, video: Any = None) -> Iterator[FrameSeen | Reply]:
    """News of every frame, then the reply.

    Args:
        agent: for one question, or a conversation that goes on.
        video: a path, or None where the conversation has it already.

    Raises:
        BadInput: not a video, or over the limits.
    """
    session = agent.session() if isinstance(agent, Agent) else agent
    news: queue.Queue[FrameSeen | Reply | BaseException] = queue.Queue(maxsize=64)
    over = threading.Event()

    def tell(one: FrameSeen) -> None:
        while not over.is_set():  # a listener that went away must not hold the work up
            try:
                news.put(one, timeout=0.5)
                return
            except queue.Full:
                continue

    def work() -> None:
        session.watching = tell
        try:
            news.put(session.ask(query, [video] if video is not None else []))
        except BaseException as error:
            news.put(error)
        finally:
            session.watching = None

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            one = news.get()
            if isinstance(one, BaseException):
                raise one
            yield one
            if isinstance(one, Reply):
                return
    finally:
        over.set()
        while not news.empty():
            news.get_nowait()
        thread.join(timeout=60)
