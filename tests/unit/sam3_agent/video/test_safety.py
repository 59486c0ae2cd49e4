"""What is not let near a decoder or a camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from video_stage import Stage, write_clip

from sam3.errors import BadInput
from sam3_agent.video.reading import facts, read_frames
from sam3_agent.video.safety import VideoLimits, check_rtsp
from sam3_agent.video.sources import looks_like_video, source_of

PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("name", ["list.mp4", "list.avi", "list.mkv", "list.m3u8"])
@pytest.mark.parametrize("content", [
    PLAYLIST.format("file:///etc/passwd"), PLAYLIST.format("http://127.0.0.1:9/x.ts"),
    "ffconcat version 1.0\nfile secret.mp4\n", "v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n", "", "\x00" * 64,
])  # fmt: skip
def test_playlists_and_other_texts_are_no_videos(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(BadInput, match="content"):
        facts(source_of(path))


def test_a_playlist_behind_the_first_bytes_of_a_video_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "odd.avi"
    path.write_bytes(b"RIFF\x10\x00\x00\x00AVI LIST" + PLAYLIST.format("file:///etc/passwd").encode())
    with pytest.raises(BadInput):
        facts(source_of(path))


@pytest.mark.parametrize("name", ["concat:{}|{}", "subfile,,start,0,end,9,,:{}"])
def test_names_that_ffmpeg_would_take_for_protocols_are_files_or_nothing(clip: Path, name: str) -> None:
    with pytest.raises(BadInput):
        source_of(name.format(clip, clip))


@pytest.mark.parametrize("url", [
    "http://127.0.0.1/clip.mp4", "https://example.org/a.mp4", "file:///etc/passwd", "ftp://x/y.avi", "udp://0.0.0.0:1234",
    "rtmp://cam/live", "rtsp://elsewhere/barn", "rtsp://", "rtsp://cam :554/x", "rtsp://cam@elsewhere/barn", "tcp://cam:554",
])  # fmt: skip
def test_only_listed_cameras_are_contacted(url: str) -> None:
    with pytest.raises(BadInput):
        source_of(url, hosts={"cam"})


def test_a_listed_camera_is_taken_and_its_password_kept_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of("rtsp://user:secret@Cam:8554/barn", hosts={"cam"})
    assert source.kind == "rtsp" and "secret" not in source.name
    assert check_rtsp("rtsp://cam:8554/x", {"cam:8554"}) == "rtsp://cam:8554/x"
    assert check_rtsp("rtsps://cam/x", {"cam:322"}) == "rtsps://cam:322/x"
    with pytest.raises(BadInput) as refused:
        check_rtsp("rtsp://user:secret@other/x", {"cam"})
    assert "secret" not in str(refused.value)
    monkeypatch.setenv("SAM3_RTSP_HOSTS", "barn.local, 10.0.0.7")
    assert source_of("rtsp://10.0.0.7/x").live


@pytest.mark.parametrize(("limits", "words"), [
    (VideoLimits(max_bytes=100), "MB"),
    (VideoLimits(max_seconds=1), "seconds"),
    (VideoLimits(max_frames=20), "frames"),
    (VideoLimits(max_pixels=1000), "megapixels"),
])  # fmt: skip
def test_every_limit_holds(clip: Path, limits: VideoLimits, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        facts(source_of(clip), limits)


def test_a_file_that_lies_about_its_length_is_stopped_on_the_way(tmp_path: Path, crossing: Stage) -> None:
    """The header of an AVI says 5 frames; there are 30."""
    path = write_clip(tmp_path / "lie.avi", [crossing.frame(t)[0] for t in range(30)])
    content = bytearray(path.read_bytes())
    at = content.index(b"avih") + 8 + 16
    content[at : at + 4] = (5).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(BadInput, match="frames"):
        list(read_frames(source_of(path), limits=VideoLimits(max_frames=10)))


def test_the_decoder_itself_refuses_frames_that_are_too_large(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a stream turns out larger than its header said."""
    monkeypatch.setattr("sam3_agent.video.reading.check_shape", lambda *given: None)
    monkeypatch.setattr("sam3_agent.video.reading.bounded", lambda limits: {"max_pixels": "1000"})
    with pytest.raises(BadInput, match="can be decoded"):
        list(read_frames(source_of(clip)))


def test_links_that_lead_out_of_a_folder_of_frames_are_left_out(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "frames").mkdir()
    for name in ("outside.png", "frames/1.png"):
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "frames/2.png").symlink_to(tmp_path / "outside.png")
    assert [f.number for f in read_frames(source_of(tmp_path / "frames"))] == [0]


@pytest.mark.parametrize("text", ["picture.jpg", "", "a\0b.mp4x", None, 3, b"clip.mp4"])
def test_what_is_no_video_does_not_look_like_one(text: object) -> None:
    assert not looks_like_video(text)
