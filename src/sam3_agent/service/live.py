"""Conversations under way: those kept under an id, and those that a client carries itself, message by message.

A kept one lives in memory within a budget of bytes and in the database always; after a restart, or when it had to
make room, it is read back. A carried one (OpenAI's protocol sends everything each time) is recognised by what was said
before, so that "only the red ones" needs no second look; a new one is replayed, which the caches make cheap.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sam3_agent.cache.budget import Budget
from sam3_agent.cache.keys import fingerprint
from sam3_agent.conversation import Agent, Found, Session
from sam3_agent.execution.doubt import Mirror
from sam3_agent.execution.media import Medium
from sam3_agent.monitoring.answered import Answers
from sam3_agent.reply import Reply
from sam3_agent.service.answers import to_api
from sam3_agent.service.errors import Refused
from sam3_agent.service.pictures import Pictures, Source, is_clip
from sam3_agent.service.waiting import Watch
from sam3_agent.sessions.state import restored, saved
from sam3_agent.sessions.store import SessionStore

Turn = tuple[str, tuple[Source, ...]]  # words; addresses of pictures and clips, or their bytes
TURN_PATIENCE = 20.0  # seconds that a turn waits for another one of its conversation
MOST_MEDIA = 64  # in a conversation, of those given ahead of a question
REMEMBERED = 20_000  # replies whose owner is known although no conversation keeps them


@dataclass
class Asked:
    """One question as the service takes it."""

    owner: str
    query: str
    pictures: tuple[Source, ...] = ()
    session: str | None = None
    earlier: Sequence[Turn] = ()
    threshold: float | None = None
    double_check: bool | None = None
    number: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")


class Conversations:
    """All conversations of the service. Called from worker threads.

    Args:
        agent: answers. store: keeps. pictures: decodes. live_bytes: of conversations in memory.
    """

    def __init__(self, agent: Agent, store: SessionStore, pictures: Pictures, live_bytes: int) -> None:
        self.agent, self.store, self.pictures = agent, store, pictures
        self.kept: Budget[tuple[str, str], tuple[Session, float]] = Budget(live_bytes // 2)  # with its stamp
        self.carried: Budget[str, Session] = Budget(live_bytes // 2)
        self._locks: OrderedDict[tuple[str, str], threading.RLock] = OrderedDict()
        self._lock = threading.Lock()
        self._given: OrderedDict[str, str] = OrderedDict()  # reply -> owner
        self.answers = Answers()
        self._with_clips: OrderedDict[tuple[str, str], None] = OrderedDict()

    def about_clip(self, asked: Asked) -> bool:
        """Whether a question needs the crew for clips: it brings one, or its conversation is known to have one."""
        if asked.session and (asked.owner, asked.session) in self._with_clips:
            return True
        return any(is_clip(one) for _, some in (*asked.earlier, ("", asked.pictures)) for one in some)

    def ask(self, asked: Asked, found: Found | None = None, watch: Watch | None = None) -> Reply:
        """Answer one question, in its conversation if it has one.

        Args:
            watch: hears of the frames of clips, and may end the work.
        """
        start = time.perf_counter()
        check = watch.check if watch is not None else None
        media = [self.pictures.load(source, check) for source in asked.pictures]
        loaded = 1000 * (time.perf_counter() - start)
        answer = self._kept if asked.session else self._carried
        reply = answer(asked, media, found, watch)
        reply.timings["load"] = reply.timings.get("load", 0.0) + loaded
        reply.timings["total"] = reply.timings.get("total", 0.0) + loaded
        self._remember(asked.number, asked.owner)
        self.answers.keep(asked.number, asked.query, reply)
        return reply

    def give(self, number: str, owner: str, medium: Medium) -> int:
        """A picture or clip for the next question of a kept conversation; its number there.

        Raises:
            BadInput: no such conversation. Refused: it is full.
        """
        with self._alone(number, owner):
            session = self._session(number, owner)
            if len(session.media) >= MOST_MEDIA:
                raise Refused(400, "too_many_pictures", f"A conversation has at most {MOST_MEDIA} pictures and clips.")
            with self._in_step(number, owner):
                [at] = session.give([medium.lean()])
                self._save(number, owner, session, {at: medium})
        return at

    def create(self, owner: str) -> str:
        """A new conversation's id."""
        return self.store.create(owner)

    def point_out(self, number: str, owner: str, picture: int, box: Sequence[float], reply_id: str) -> Reply:
        """Something that was missed, in a kept conversation."""
        with self._alone(number, owner):
            session = self._session(number, owner)
            query = f"this is one, too: {[round(value) for value in box]} in picture {picture + 1}"
            with self._in_step(number, owner):
                reply = session.point_out(picture, box)
                self._save(number, owner, session, {}, (query, reply, reply_id))
        self._remember(reply_id, owner)
        self.answers.keep(reply_id, query, reply)
        return reply

    def forget(self, number: str, owner: str) -> None:
        """Delete a conversation."""
        self.store.forget(number, owner)
        self.kept.pop((owner, number))

    def medium(self, number: str, owner: str, at: int) -> Medium | None:
        """A picture of a kept conversation."""
        media = self.media(number, owner)
        return media[at] if 0 <= at < len(media) else None

    def media(self, number: str, owner: str) -> list[Medium]:
        """All pictures of a kept conversation."""
        with self._alone(number, owner):
            return self._session(number, owner).media

    def gave(self, owner: str, reply: str) -> bool:
        """Whether a reply was given to this owner."""
        with self._lock:
            known = self._given.get(reply)
        return known == owner if known is not None else self.store.owns_turn(owner, reply)

    # --- kept here ----------------------------------------------------------------------------------------------------

    def _kept(self, asked: Asked, media: list[Medium], found: Found | None, watch: Watch | None) -> Reply:
        number, owner = str(asked.session), asked.owner
        with self._alone(number, owner):
            session = self._session(number, owner)
            first = len(session.media)
            self._options(session, asked)
            with self._in_step(number, owner):
                reply = _told(session, asked.query, media, found, watch)
                new = dict(enumerate(media, start=first))
                self._save(number, owner, session, new, (asked.query, reply, asked.number))
        return reply

    @contextmanager
    def _in_step(self, number: str, owner: str) -> Iterator[None]:
        """A turn that fails half-way is forgotten here, as the database never heard of it."""
        try:
            yield
        except BaseException:
            self.kept.pop((owner, number))
            raise

    def _save(
        self,
        number: str,
        owner: str,
        session: Session,
        new: dict[int, Medium],
        said: tuple[str, Reply, str] | None = None,
    ) -> None:
        turn = None
        if said is not None:
            query, reply, name = said
            turn = {"id": name, "query": query, "reply": to_api(reply, name, "polygons")}
        self._hold(number, owner, session, self.store.save(number, owner, saved(session), new, turn))

    def _hold(self, number: str, owner: str, session: Session, stamp: float) -> None:
        self.kept.put((owner, number), (session, stamp), session.nbytes)
        if any(medium.is_clip for medium in session.media):
            with self._lock:
                self._with_clips[owner, number] = None
                while len(self._with_clips) > 10_000:
                    self._with_clips.popitem(last=False)

    def _session(self, number: str, owner: str) -> Session:
        """The conversation as the database has it: another process may have gone on with it, or ended it."""
        held, stamp = self.kept.get((owner, number)), self.store.stamp(number, owner)
        if held is not None and held[1] == stamp:
            return held[0]
        kept = self.store.load(number, owner)
        session = restored(self.agent, kept.state, kept.media) if kept.state else Session(self.agent)
        self._hold(number, owner, session, stamp)
        return session

    @contextmanager
    def _alone(self, number: str, owner: str) -> Iterator[None]:
        """One turn of a conversation at a time.

        Raises:
            Refused: 503, another one takes long.
        """
        lock = self._lock_of(number, owner)
        if not lock.acquire(timeout=TURN_PATIENCE):
            raise Refused(503, "busy", "This conversation is being answered. Try again in a moment.", retry_after=5)
        try:
            yield
        finally:
            lock.release()

    def _lock_of(self, number: str, owner: str) -> threading.RLock:
        with self._lock:
            lock = self._locks.setdefault((owner, number), threading.RLock())
            self._locks.move_to_end((owner, number))
            while len(self._locks) > 10_000:
                self._locks.popitem(last=False)
        return lock

    # --- carried by the client ----------------------------------------------------------------------------------------

    def _carried(self, asked: Asked, media: list[Medium], found: Found | None, watch: Watch | None) -> Reply:
        earlier = tuple(asked.earlier)
        session = self.carried.pop(self._name(asked, earlier)) if earlier else None
        if session is None:
            session = Session(self.agent)
            self._options(session, asked)
            for words, sources in earlier:
                check = watch.check if watch is not None else None
                _told(session, words, [self.pictures.load(source, check) for source in sources], None, watch)
        self._options(session, asked)
        reply = _told(session, asked.query, media, found, watch)
        self.carried.put(self._name(asked, (*earlier, (asked.query, asked.pictures))), session, session.nbytes)
        return reply

    def _name(self, asked: Asked, turns: Sequence[Turn]) -> str:
        said: tuple[Any, ...] = tuple((words, tuple(sources)) for words, sources in turns)
        return fingerprint("conversation", owner=asked.owner, threshold=asked.threshold, turns=said)

    def _options(self, session: Session, asked: Asked) -> None:
        if asked.threshold is not None:
            session.threshold = max(asked.threshold, self.agent.floor)
        mirror: Mirror = "always" if asked.double_check else self.agent.mirror
        session.mirror = "never" if asked.double_check is False else mirror

    def _remember(self, reply: str, owner: str) -> None:
        with self._lock:
            self._given[reply] = owner
            while len(self._given) > REMEMBERED:
                self._given.popitem(last=False)


def _told(session: Session, query: str, media: list[Medium], found: Found | None, watch: Watch | None) -> Reply:
    """A turn, of whose frames somebody hears."""
    session.watching = watch
    try:
        return session.ask(query, [medium.lean() for medium in media], found=found)
    finally:
        session.watching = None
