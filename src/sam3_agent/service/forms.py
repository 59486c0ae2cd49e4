"""What requests look like, and replies. Unknown fields of OpenAI's protocol are ignored, ours are checked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Masks = Literal["rle", "polygons", "both", "none"]
Threshold = Annotated[float | None, Field(ge=0, le=1, description="Scores below this are not believed.")]
Box = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=4, max_length=4)]
Id = Annotated[str, Field(pattern=r"^[\w-]{1,64}$")]
LONGEST_QUERY = 4000


def sound(text: str) -> str:
    """Text that can be written as UTF-8: JSON may carry half a surrogate pair, or NUL, which databases refuse."""
    return text.encode("utf-8", "replace").decode().replace("\0", " ")


class TextPart(BaseModel):
    """Words in a message."""

    type: Literal["text"]
    text: str = Field(max_length=LONGEST_QUERY)


class ImageUrl(BaseModel):
    """A data URL, a web address, or a path inside an allowed folder."""

    url: str
    detail: str | None = None


class ImagePart(BaseModel):
    """A picture in a message."""

    type: Literal["image_url"]
    image_url: ImageUrl | str


class VideoPart(BaseModel):
    """A clip in a message, as vLLM and Open WebUI write it."""

    type: Literal["video_url"]
    video_url: ImageUrl | str


class Message(BaseModel):
    """One message of a conversation; only those of the user are read."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: (
        Annotated[str, Field(max_length=100_000)]
        | list[Annotated[TextPart | ImagePart | VideoPart, Field(discriminator="type")]]
        | None
    ) = None

    def turn(self) -> tuple[str, tuple[str, ...]]:
        """The words, and the pictures and clips."""
        if not isinstance(self.content, list):
            return sound(self.content or ""), ()
        words = "\n".join(part.text for part in self.content if isinstance(part, TextPart))
        urls = [
            part.image_url if isinstance(part, ImagePart) else part.video_url
            for part in self.content
            if not isinstance(part, TextPart)
        ]
        return sound(words), tuple(url if isinstance(url, str) else url.url for url in urls)


class ChatRequest(BaseModel):
    """OpenAI's chat completion, and what this house adds to it.

    `session`: a conversation kept here; only the last message is read then. `masks`: the form in which masks come.
    """

    model_config = ConfigDict(extra="ignore")

    model: str = "sam3-agent"
    messages: Annotated[list[Message], Field(min_length=1, max_length=200)]
    stream: bool | None = False
    n: Literal[1] | None = 1
    session: Id | None = None
    threshold: Threshold = None
    double_check: bool | None = None
    masks: Masks = "rle"

    @field_validator("messages")
    @classmethod
    def _ends_with_the_user(cls, messages: list[Message]) -> list[Message]:
        if messages[-1].role != "user":
            raise ValueError("the last message must be the user's")
        return messages


class SegmentRequest(BaseModel):
    """Outline a thing in one picture, named or shown with boxes."""

    model_config = ConfigDict(extra="forbid")

    image: str = Field(description="A data URL, base64, a web address, or a path inside an allowed folder.")
    concept: Annotated[str | None, Field(min_length=1, max_length=300)] = None
    boxes: Annotated[list[Box], Field(max_length=32)] = []
    box_labels: Annotated[list[Literal[0, 1]] | None, Field(max_length=32)] = None
    threshold: Threshold = None
    masks: Masks = "rle"


class ExemplarRequest(BaseModel):
    """A thing that was missed."""

    model_config = ConfigDict(extra="forbid")

    media: Annotated[int, Field(ge=0, le=1000)] = 0
    box: Box
    masks: Masks = "polygons"


class FeedbackRequest(BaseModel):
    """What somebody thinks of a reply; `instance` and `box` say of which part of it."""

    model_config = ConfigDict(extra="forbid")

    reply: Id
    verdict: Literal["up", "down", "wrong"]
    note: Annotated[str, Field(max_length=2000)] = ""
    media: Annotated[int | None, Field(ge=0, le=1000)] = None
    instance: Annotated[int | None, Field(ge=0, le=10_000)] = None
    box: Box | None = None


class TrackRequest(BaseModel):
    """A question about a clip (`query`), or things to follow through every frame of it (`things`).

    `session` (with `query`): the clip and the answer become part of a conversation. `start`, `end` (with `things`): seconds.
    """

    model_config = ConfigDict(extra="forbid")

    video: Annotated[str, Field(description="A data URL, base64, a web address, or a path in an allowed folder.")] = ""
    query: Annotated[str, Field(max_length=LONGEST_QUERY)] = ""
    things: Annotated[list[Annotated[str, Field(min_length=1, max_length=300)]], Field(max_length=8)] = []
    every: Annotated[float, Field(ge=0, le=60, description="Seconds between looks of the detector, for things.")] = 1.0
    start: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    end: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    threshold: Threshold = None
    masks: Masks = "rle"
    stream: Annotated[bool, Field(description="Lines of JSON as frames are done, or one document at the end.")] = True
    session: Id | None = None


class ApiReply(BaseModel):
    """A reply of the agent; see the `to_api` function for the instances."""

    id: str
    status: Literal["ok", "empty", "clarify", "unsupported"]
    text: str
    answer: bool | int | float | str | None
    uncertain: bool
    plan: dict[str, Any] | None
    plan_words: str | None
    explain: dict[str, Any]
    results: list[dict[str, Any]]
