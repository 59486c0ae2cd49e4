"""The heavy tracker: SAM 3's own video memory (transformers' `Sam3VideoModel`), behind the same interface as `carry.py`.

    tracker = MemoryTracker.load("facebook/sam3", ["player wearing number 23"])
    for frame in read_frames(source_of("clip.mp4")):
        result = tracker.update(frame)

The library's session keeps every frame and every output for ever, and in streaming never lets an object go. Here each
frame is followed by a clearing-up that keeps what the memory attention can still reach, and objects that were not seen for a
while are taken out, so that a stream of days holds no more than one of minutes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam3.errors import BadCheckpoint, BadInput
from sam3.pixels import to_model
from sam3.tokenizer import MAX_TOKENS, Tokenizer
from sam3_agent.execution.outcome import TrackedDetections
from sam3_agent.video.flow import box_of
from sam3_agent.video.frames import Frame, FrameResult

if TYPE_CHECKING:
    from transformers import Sam3VideoModel

FORGET = 150  # frames that an object may be unseen
MOST = 64  # objects at once
PER_FRAME = ("obj_id_to_tracker_score_frame_wise", "suppressed_obj_ids")
PER_OBJECT = (
    "obj_id_to_score", "obj_id_to_last_occluded", "obj_first_frame_idx", "unmatched_frame_inds", "trk_keep_alive",
)  # fmt: skip


class MemoryTracker:
    """Follows several phrases with one memory an object.

    Args:
        model: detector and tracker, loaded. tokenizer: of the same checkpoint.
        phrases: noun phrases.
        forget: frames that an object may be unseen before its memory is dropped.
    """

    def __init__(
        self, model: Sam3VideoModel, tokenizer: Tokenizer, phrases: Sequence[str], *, forget: int = FORGET
    ) -> None:
        if not phrases:
            raise BadInput("nothing to follow. Name at least one thing.", field="phrases")
        self.model, self.phrases, self.forget = model.eval(), list(dict.fromkeys(phrases)), forget
        self.model.max_num_objects = min(self.model.max_num_objects, MOST)
        self.session = self._session(tokenizer)
        self._side = int(model.config.image_size)
        self._seen: dict[int, int] = {}
        self._number = -1
        tracker: Any = model.config.tracker_config
        self._reach = max(int(tracker.num_maskmem), int(tracker.max_object_pointers_in_encoder)) + 1
        self._conditioning = max(2, int(tracker.max_cond_frame_num))

    @classmethod
    def load(cls, checkpoint: str, phrases: Sequence[str], device: str | None = None) -> MemoryTracker:
        """From a checkpoint that holds detector and tracker, as the published one does.

        Raises:
            BadCheckpoint: it holds no tracker (sam3-lite does not); use the method "carry".
        """
        import torch
        from transformers import Sam3VideoModel

        from sam3.checkpoint import checkpoint_folder
        from sam3.files import read_json

        folder = Path(checkpoint_folder(checkpoint))
        if read_json(folder / "config.json").get("model_type") != "sam3_video":
            raise BadCheckpoint(
                f"{checkpoint}: holds no video memory (config.json is not of a sam3_video model). Use --method carry, or "
                "download facebook/sam3."
            )
        loaded: Any = Sam3VideoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        model, info = loaded
        lacking = [name for name in info["missing_keys"] if name.startswith(("tracker", "detector"))]
        if lacking:
            raise BadCheckpoint(f"{checkpoint}: {len(lacking)} weights are missing, the first is {lacking[0]}.")
        model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return cls(model, Tokenizer.load(folder), phrases)

    def update(self, frame: Frame) -> FrameResult:
        """The next frame, of any size."""
        import torch

        start = time.perf_counter()
        pixels = torch.from_numpy(to_model(frame.pixels, self._side)).to(self.session.inference_device)
        self._number += 1  # our own count: frames that were dropped leave no gap in the memory
        with torch.inference_mode():
            output = self.model(inference_session=self.session, frame_idx=self._number, frame=pixels[None])
            seen = self._shown(output, frame.pixels.shape[:2])
        followed = time.perf_counter()
        self._clear_up(seen)
        spent = {"memory": 1000 * (followed - start), "clear up": 1000 * (time.perf_counter() - followed)}
        presence = {phrase: 0.0 for phrase in self.phrases}
        for label, score in zip(seen.labels, seen.scores, strict=True):
            presence[label] = max(presence[label], float(score))
        return FrameResult(frame.number, frame.time, seen, True, presence, spent)

    def _session(self, tokenizer: Tokenizer) -> Any:
        import torch
        from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

        device, dtype = self.model.device, self.model.dtype
        session = Sam3VideoInferenceSession(
            inference_device=device, inference_state_device=device, video_storage_device=device, dtype=dtype
        )
        for phrase in self.phrases:
            tokens = tokenizer.encode([phrase])
            room = MAX_TOKENS - tokens.ids.shape[1]
            number = session.add_prompt(phrase)
            ids = np.pad(tokens.ids, ((0, 0), (0, room)), constant_values=tokenizer.end_id)
            session.prompt_input_ids[number] = torch.from_numpy(ids).to(device)
            session.prompt_attention_masks[number] = torch.from_numpy(np.pad(tokens.mask, ((0, 0), (0, room)))).to(
                device
            )
        return session

    def _shown(self, output: Any, size: tuple[int, ...]) -> TrackedDetections:
        """Masks at the frame's size; where two of one phrase claim a pixel the surer one has it."""
        import torch
        import torch.nn.functional as F

        hidden = set(output.suppressed_obj_ids or ())
        numbers = [number for number in sorted(output.obj_id_to_mask) if number not in hidden]
        masks = np.zeros((len(numbers), *size), bool)
        if numbers:
            low = torch.cat([output.obj_id_to_mask[number] for number in numbers])[:, None].float()
            masks = (F.interpolate(low, size=tuple(size), mode="bilinear", align_corners=False)[:, 0] > 0).cpu().numpy()
        scores = np.array([float(output.obj_id_to_score[number]) for number in numbers], np.float32)
        labels = [self.session.prompts[self.session.obj_id_to_prompt_id[number]] for number in numbers]
        taken = {label: np.zeros(size, bool) for label in labels}
        for at in np.argsort(-scores, kind="stable"):
            masks[at] &= ~taken[labels[at]]
            taken[labels[at]] |= masks[at]
        rows = [(at, box) for at in range(len(numbers)) if (box := box_of(masks[at])) is not None]
        kept = [at for at, _ in rows]
        return TrackedDetections(
            np.array([box for _, box in rows], np.float32).reshape(-1, 4), scores[kept], masks[kept],
            float(scores.max(initial=0.0)), [labels[at] for at in kept],
            track_ids=np.array([numbers[at] + 1 for at in kept], int),
        )  # fmt: skip

    def _clear_up(self, seen: TrackedDetections) -> None:
        """Drop what the memory cannot reach any more, and objects that were not seen for long."""
        session, now = self.session, self._number
        session.processed_frames = {}
        for name in PER_FRAME:
            held = getattr(session, name)
            for number in [n for n in held if n <= now - self._reach]:
                del held[number]
        for outputs in session.output_dict_per_obj.values():
            recent, anchors = outputs["non_cond_frame_outputs"], outputs["cond_frame_outputs"]
            for number in [n for n in recent if n <= now - self._reach]:
                del recent[number]
            for number in sorted(anchors)[1 : -(self._conditioning - 1)]:  # the first one says what the thing is
                del anchors[number]
        for held in (*session.frames_tracked_per_obj.values(), *session.mask_inputs_per_obj.values()):
            for number in [n for n in held if n <= now - self._reach]:
                del held[number]
        for histories in (session.unmatched_frame_inds, session.overlap_pair_to_frame_inds):
            for history in histories.values():
                del history[: -self._reach]
        self._forget(seen)

    def _forget(self, seen: TrackedDetections) -> None:
        session = self.session
        self._seen |= {int(number) - 1: self._number for number in seen.track_ids}
        for number in list(session.obj_ids):
            if self._number - self._seen.setdefault(int(number), self._number) > self.forget:
                session.remove_object(number)
        alive = {int(number) for number in session.obj_ids}
        self._seen = {number: at for number, at in self._seen.items() if number in alive}
        for name in PER_OBJECT:
            held = getattr(session, name)
            for number in [n for n in held if int(n) not in alive]:
                del held[number]
        pairs = session.overlap_pair_to_frame_inds
        for pair in [pair for pair in pairs if not alive.issuperset(map(int, pair))]:
            del pairs[pair]
        session.removed_obj_ids.intersection_update(alive)
