"""Frames of files and folders, in order and in time, whatever the container; damage is survived or named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from video_stage import Stage, write_clip

from sam3.errors import BadInput, Unavailable
from sam3_agent.video.reading import facts, read_frames, webcam
from sam3_agent.video.sources import source_of


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".avi", ".mkv"])
def test_every_container_gives_every_frame(tmp_path: Path, crossing: Stage, suffix: str) -> None:
    pictures = [crossing.frame(t)[0] for t in range(12)]
    source = source_of(write_clip(tmp_path / f"clip{suffix}", pictures))
    known = facts(source)
    assert (known.width, known.height, known.rate) == (128, 96, 10)
    frames = list(read_frames(source))
    assert [frame.number for frame in frames] == list(range(12))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(12) / 10, atol=0.002)
    for frame, picture in zip(frames, pictures, strict=True):
        assert np.abs(frame.pixels.astype(int) - picture).mean() < 25, "compressed, and the same picture"


def test_a_part_in_seconds_and_a_frame_to_go_on_from(clip: Path) -> None:
    assert [f.number for f in read_frames(source_of(clip), start=1.0, end=1.5)] == [10, 11, 12, 13, 14]
    assert [f.number for f in read_frames(source_of(clip), skip=27)] == [27, 28, 29]


def test_a_folder_is_read_as_people_count(tmp_path: Path) -> None:
    from PIL import Image

    for number in (1, 2, 10):
        Image.fromarray(np.full((40, 60, 3), number, np.uint8)).save(tmp_path / f"frame{number}.png")
    frames = list(read_frames(source_of(tmp_path), rate=5))
    assert [int(f.pixels[0, 0, 0]) for f in frames] == [1, 2, 10]
    assert [f.time for f in frames] == [0, 0.2, 0.4]


def test_a_phone_held_upright_is_upright(tmp_path: Path, crossing: Stage) -> None:
    path = write_clip(tmp_path / "phone.mp4", [crossing.frame(t)[0] for t in range(5)])
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40  # the display matrix of an MP4 track: a quarter turn clockwise
    turned = [0, 1 << 16, 0, -(1 << 16) & 0xFFFFFFFF, 0, 0, 96 << 16, 0, 1 << 30]
    content[at : at + 36] = b"".join(value.to_bytes(4, "big") for value in turned)
    path.write_bytes(content)
    [first, *_] = read_frames(source_of(path))
    assert first.pixels.shape == (128, 96, 3)
    expected = np.rot90(crossing.frame(0)[0], -1)
    assert np.abs(first.pixels.astype(int) - expected).mean() < 25
    assert facts(source_of(path)).width == 96


def test_damage_in_the_middle_costs_frames_and_not_the_file(tmp_path: Path, crossing: Stage) -> None:
    path = write_clip(tmp_path / "scratched.avi", [crossing.frame(t)[0] for t in range(30)])
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    content[third : third + 600] = b"\xff" * 600
    path.write_bytes(content)
    numbers = [frame.number for frame in read_frames(source_of(path))]
    assert 20 <= len(numbers) <= 30


def test_a_file_cut_short_gives_what_it_has(tmp_path: Path, crossing: Stage) -> None:
    path = write_clip(tmp_path / "cut.avi", [crossing.frame(t)[0] for t in range(30)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 5 <= len(list(read_frames(source_of(path)))) < 30


@pytest.mark.parametrize(
    "content", [b"\x00\x00\x00\x18ftypmp42" + b"\0" * 900, b"RIFF\xff\xff\xff\xffAVI " + b"x" * 900]
)
def test_a_file_with_nothing_in_it_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"broken\.mp4"):
        facts(source_of(path))


def test_a_way_of_coding_that_nobody_knows_is_named(clip: Path) -> None:
    content = clip.read_bytes()
    at = content.index(b"avc1", content.index(b"stsd"))
    clip.write_bytes(content[:at] + b"zzzz" + content[at + 4 :])
    with pytest.raises(BadInput, match=r"clip\.mp4: coded in a way"):
        facts(source_of(clip))


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    import av

    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(BadInput, match="no video stream"):
        facts(source_of(path))


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(BadInput, match="no such video"):
        source_of("nowhere/clip.mp4")
    with pytest.raises(Unavailable, match="webcam 99"):
        next(webcam(source_of("99")))


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no pictures"):
        facts(source_of(tmp_path))
