"""SAM 3's detector in PyTorch: transformers' `Sam3Model`, opened where training and engines need it.

`Sam3Model.forward` runs everything and returns the last decoder layer. Here the same modules run in three
steps, so that an image is encoded once and prompted many times, every decoder layer can be trained, and masks
are computed only for the queries somebody wants:

    vision = model.encode_images(pixels)                  # once per image
    words = model.encode_text(ids, mask)                  # once per phrase
    found = model.ground(vision, words, boxes)            # per pair: logits, boxes, presence of every layer
    masks = model.masks(found, batch_index, query_index)  # only for the queries kept

`tests/unit/model/test_detector.py` holds the steps against `Sam3Model.forward`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Sam3Model
from transformers.models.sam3.modeling_sam3 import (
    box_cxcywh_to_xyxy,
    create_bidirectional_mask,
    inverse_sigmoid,
)

IGNORED_BOX = -10  # transformers' label for a padding box


@dataclass
class Vision:
    """What the image encoder leaves of B images, seen by P pairs.

    Attributes:
        levels: feature maps (B, d, H_i, W_i), fine to coarse; the last one is what the DETR sees.
        positions: sine position encodings of the same shapes, alike for all images.
        rows: int64 (P,), the image of each pair; None when pair i is about image i.
    """

    levels: tuple[Tensor, ...]
    positions: tuple[Tensor, ...]
    rows: Tensor | None = None

    def take(self, rows: Tensor) -> Vision:
        """The same images for the pairs at `rows` (int64, (P,)); nothing is copied yet."""
        return Vision(self.levels, self.positions, rows if self.rows is None else self.rows[rows])

    def level(self, at: int) -> Tensor:
        """(P, d, H, W): one level, an entry per pair."""
        return self.levels[at] if self.rows is None else self.levels[at].index_select(0, self.rows)

    def position(self, at: int) -> Tensor:
        """(P, d, H, W): the position encoding of a level, an entry per pair."""
        # .shape, not len(): an exported graph keeps a shape symbolic and bakes a len in
        pairs = (self.levels[at] if self.rows is None else self.rows).shape[0]
        return self.positions[at][:1].expand(pairs, -1, -1, -1)


@dataclass
class Words:
    """Phrases after the text encoder.

    Attributes:
        features: (P, T, d).
        mask: bool (P, T), False for padding.
    """

    features: Tensor
    mask: Tensor

    def take(self, rows: Tensor) -> Words:
        """The phrases at `rows` (int64, (P,))."""
        return Words(self.features[rows], self.mask[rows])


@dataclass
class BoxPrompts:
    """Exemplar boxes, padded to K a pair.

    Attributes:
        boxes: (P, K, 4) cxcywh in [0, 1].
        labels: int64 (P, K): 1 like this, 0 not like this, -10 padding.
    """

    boxes: Tensor
    labels: Tensor


@dataclass
class Grounding:
    """The decoder's answer for P pairs, L layers, Q queries.

    Attributes:
        logits: (L, P, Q) per query; boxes: (L, P, Q, 4) xyxy in [0, 1]; presence: (L, P) logits.
        queries: (L, P, Q, d) decoder states, from which masks are made.
        encoded: (P, N, d) the coarsest level after the DETR encoder.
    """

    logits: Tensor
    boxes: Tensor
    presence: Tensor
    queries: Tensor
    encoded: Tensor
    vision: Vision
    prompt: Words


class Sam3Detector(Sam3Model):
    """`Sam3Model` in steps; the state dict is the same, name for name."""

    def encode_images(self, pixel_values: Tensor) -> Vision:
        """(B, 3, S, S) normalised to [-1, 1] -> `Vision`; the coarsest level is dropped as in `Sam3Model`."""
        out = self.vision_encoder(pixel_values)
        return Vision(tuple(out.fpn_hidden_states[:-1]), tuple(out.fpn_position_encoding[:-1]))

    def encode_text(self, ids: Tensor, mask: Tensor) -> Words:
        """(P, T) int64 token ids and mask -> `Words`."""
        states = self.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return Words(self.text_projection(states), mask.bool())

    def prompt(self, vision: Vision, words: Words, boxes: BoxPrompts | None) -> Words:
        """Text features followed by the features of exemplar boxes, if any.

        The geometry encoder leaves one token of its own besides the boxes; a pair whose boxes are all padding does
        not see it, so that it is answered as if the batch had no boxes at all.
        """
        if boxes is None:
            return words
        # RoI pooling knows no bfloat16, and its detour over float16 fails under autocast on a CPU
        with torch.autocast(boxes.boxes.device.type, enabled=False):
            dtype = self.geometry_encoder.final_proj.weight.dtype
            geometry = self.geometry_encoder(
                box_embeddings=boxes.boxes.to(dtype),
                box_mask=boxes.labels != IGNORED_BOX,
                box_labels=boxes.labels.clamp(min=0),
                img_feats=(vision.level(-1).to(dtype),),  # the coarsest is the only one it reads
                img_pos_embeds=(vision.position(-1).to(dtype),),
            )
        seen = geometry.attention_mask & (boxes.labels >= 0).any(1, keepdim=True)
        return Words(torch.cat([words.features, geometry.last_hidden_state], 1), torch.cat([words.mask, seen], 1))

    def ground(self, vision: Vision, words: Words, boxes: BoxPrompts | None = None) -> Grounding:
        """Find the concept of each pair: vision, words and boxes have one entry per pair."""
        prompt = self.prompt(vision, words, boxes)
        encoded = self.detr_encoder(
            vision_features=[vision.level(-1)],
            text_features=prompt.features,
            vision_pos_embeds=[vision.position(-1)],
            text_mask=prompt.mask,
        )
        decoded = self.detr_decoder(
            vision_features=encoded.last_hidden_state,
            text_features=prompt.features,
            vision_pos_encoding=encoded.pos_embeds_flattened,
            text_mask=prompt.mask,
            spatial_shapes=encoded.spatial_shapes,
        )
        queries = decoded.intermediate_hidden_states
        offsets = self.detr_decoder.box_head(queries)
        boxes_out = box_cxcywh_to_xyxy((inverse_sigmoid(decoded.reference_boxes) + offsets).sigmoid())
        logits = self.dot_product_scoring(
            decoder_hidden_states=queries, text_features=prompt.features, text_mask=prompt.mask
        ).squeeze(-1)
        presence = decoded.presence_logits.squeeze(-1)
        return Grounding(logits, boxes_out, presence, queries, encoded.last_hidden_state, vision, prompt)

    def pixel_embeddings(self, found: Grounding, pairs: Tensor | None = None) -> Tensor:
        """(P', d, H, W) pixel embeddings of all pairs, or of those at `pairs` (int64)."""
        head = self.mask_decoder
        encoded, prompt, vision = found.encoded, found.prompt, found.vision
        if pairs is not None:
            encoded, prompt = encoded[pairs], prompt.take(pairs)
            vision = vision.take(pairs)
        normed = head.prompt_cross_attn_norm(encoded)
        attention_mask = create_bidirectional_mask(
            config=head.config,
            inputs_embeds=normed,
            encoder_hidden_states=prompt.features,
            attention_mask=prompt.mask,
        )
        attended, _ = head.prompt_cross_attn(
            query=normed, key=prompt.features, value=prompt.features, attention_mask=attention_mask
        )
        return head._embed_pixels(
            [vision.level(at) for at in range(len(vision.levels))], encoded + head.prompt_cross_attn_dropout(attended)
        )

    def mask_logits(self, pixels: Tensor, pair: Tensor, queries: Tensor) -> Tensor:
        """Masks of chosen queries.

        Args:
            pixels: (P', d, H, W) from `pixel_embeddings`.
            pair: int64 (N,), the row of `pixels` each query belongs to.
            queries: (N, d) decoder states.

        Returns:
            (N, H, W) logits.
        """
        head = self.mask_decoder
        places = head.instance_projection(pixels).flatten(2)
        # one product per pair, its queries side by side: a copy of the map for every query would cost far more
        pair, order = pair.sort(stable=True)
        counts = pair.bincount(minlength=len(places))
        slot = torch.arange(len(pair), device=pair.device) - (counts.cumsum(0) - counts)[pair]
        padded = queries.new_zeros(len(places), int(counts.max()), queries.shape[-1])
        padded = padded.index_put((pair, slot), queries[order])
        logits = torch.bmm(head.mask_embedder(padded), places)[pair, slot]
        return logits[order.argsort()].unflatten(-1, pixels.shape[-2:])

    def semantic_logits(self, pixels: Tensor) -> Tensor:
        """(P', d, H, W) pixel embeddings -> (P', H, W) logits of "this pixel is the concept"."""
        return self.mask_decoder.semantic_projection(pixels).squeeze(1)
