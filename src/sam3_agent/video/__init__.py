"""Following things through video, in files and live.

`reading` (and `sources`, `safety`) bring frames in, `carry` follows things through them with the detector on some frames
and optical flow on the rest, `memory` does the same with SAM 3's own video memory, `results` and `formats` write what
was found, `live` holds the parts of a stream. The verbs are `sam3-agent track` and `sam3-agent stream`.
"""
