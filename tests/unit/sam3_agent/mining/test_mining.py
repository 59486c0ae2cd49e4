"""Every picture once, whatever is killed, damaged, repeated or in which order it is done."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam3.errors import BadInput, Sam3AgentError, Unavailable
from sam3.types import Detections, Prompt
from sam3_agent.mining.inbox import Part, inbox_parts, located, pictures
from sam3_agent.mining.merge import MERGED, merge
from sam3_agent.mining.plan import Plan, load_plan, make_plan, ranges, shard_numbers
from sam3_agent.mining.run import element_calls, mine_inbox, run_shards, share
from sam3_agent.mining.shard import manifest, manifest_file, rows_file, run_shard

COUNT = 11


class Eyes:
    """An engine that sees how bright a picture is, and counts what it is shown."""

    def __init__(self) -> None:
        self.seen: Counter[int] = Counter()
        self.dies_after: int | None = None

    def encode(self, images: Sequence[Any]) -> list[Any]:
        for image in images:
            self.seen[int(image[0, 0, 0])] += 1
            if self.dies_after is not None and sum(self.seen.values()) > self.dies_after:
                raise KeyboardInterrupt
        return list(images)

    def ground(self, embeddings: Sequence[Any], prompts: Sequence[Prompt]) -> list[Detections]:
        assert {prompt.text for prompt in prompts} == {"hen"}
        return [Detections.empty(*image.shape[:2], float(image.mean()) / 255) for image in embeddings]


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((12, 16, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Eleven pictures, two of them equal, in folders; one file that is no picture, and one that is not looked at."""
    folder = tmp_path / "inbox"
    (folder / "süd").mkdir(parents=True)
    for at in range(COUNT):
        (folder / ("süd" if at % 2 else ".") / f"{at:02d}.png").write_bytes(png(10 * min(at, 9)))
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.png").write_bytes(png(1))
    return folder


def planned(inbox: str | Path, out: Path, each: int = 3) -> Plan:
    return make_plan(Plan(str(inbox), "hen", "sam3-lite", "abc", 0.3, each), out)


def tar_of(folder: Path, to: Path) -> Path:
    with tarfile.open(to, "w") as tar:
        for file in sorted(folder.rglob("*.*")):
            tar.add(file, file.name)
    return to


def merged(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.open(out / MERGED, "rt", encoding="utf-8")]


def test_every_picture_is_done_once_and_equal_ones_count_once(inbox: Path, tmp_path: Path) -> None:
    eyes, out = Eyes(), tmp_path / "out"
    assert planned(inbox, out).shards == 4
    assert run_shards(out, range(4), lambda plan: eyes) == {"new": 4, "pictures": COUNT + 1}
    assert run_shards(out, range(4), lambda plan: pytest.fail("asked for an engine")) == {"new": 0, "pictures": 12}
    assert eyes.seen == Counter({10 * at: 1 for at in range(9)} | {90: 2})
    row = merge(out)
    assert (row["pictures"], row["repeated"], row["failed"]) == (COUNT - 1, 1, 1)
    rows = merged(out)
    assert [r["name"] for r in rows] == sorted(r["name"] for r in rows) and len(rows) == COUNT
    [bad] = [r for r in rows if "error" in r]
    assert bad["name"] == "broken.jpg" and "not a JPEG" in bad["error"]


def test_killed_in_a_shard_only_that_shard_is_done_again(inbox: Path, tmp_path: Path) -> None:
    eyes, out = Eyes(), tmp_path / "out"
    planned(inbox, out)
    eyes.dies_after = 6
    with pytest.raises(KeyboardInterrupt):
        run_shards(out, range(4), lambda plan: eyes)
    done = [shard for shard in range(4) if manifest(out, shard)]
    assert done == [0, 1] and not list(rows_file(out, 2).parent.glob("*0000002*"))
    again = Eyes()
    run_shards(out, range(4), lambda plan: again)
    assert sum(again.seen.values()) == 5 and merge(out)["pictures"] == COUNT - 1


def test_the_merged_file_is_the_same_whoever_did_what_when(inbox: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for out, orders in ((one, [range(4)]), (two, [share(range(4), 1, 2)[::-1], share(range(4), 0, 2), [3, 3, 1]])):
        planned(inbox, out)
        for order in orders:
            run_shards(out, order, lambda plan: Eyes())
        merge(out)
    assert (one / MERGED).read_bytes() == (two / MERGED).read_bytes()


@pytest.mark.parametrize("harm", ["lost rows", "lost manifest", "one bit", "half a manifest"])
def test_a_lost_shard_is_named_and_run_alone(inbox: Path, tmp_path: Path, harm: str) -> None:
    out = tmp_path / "out"
    planned(inbox, out)
    run_shards(out, range(4), lambda plan: Eyes())
    merge(out)
    before = (out / MERGED).read_bytes()
    if harm == "lost rows":
        rows_file(out, 2).unlink()
    elif harm == "lost manifest":
        manifest_file(out, 2).unlink()
    elif harm == "one bit":
        content = bytearray(rows_file(out, 2).read_bytes())
        content[-1] ^= 1
        rows_file(out, 2).write_bytes(content)
    else:
        manifest_file(out, 2).write_text('{"shard": 2, "sha')
    with pytest.raises(BadInput, match=r"1 of 4 shards are not done. Run: .* --shards 2$"):
        merge(out)
    eyes = Eyes()
    assert run_shards(out, [2], lambda plan: eyes)["new"] == 1 and sum(eyes.seen.values()) <= 3
    merge(out)
    assert (out / MERGED).read_bytes() == before


def test_tars_are_shards_and_read_without_unpacking(inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    tar_of(inbox, tmp_path / "tars/a.tar")
    tar_of(inbox / "süd", tmp_path / "tars/b.tar")
    out, eyes = tmp_path / "out", Eyes()
    assert planned(tmp_path / "tars", out).shards == 2
    run_shards(out, range(2), lambda plan: eyes)
    row = merge(out)
    assert row["pictures"] == COUNT - 1 + 1  # the hidden one of the folder is not hidden in a tar
    assert merged(out)[0]["name"].startswith("a.tar/")


def test_shards_of_webdataset_are_read(inbox: Path, tmp_path: Path) -> None:
    import webdataset

    with webdataset.ShardWriter(f"file:{tmp_path}/%03d.tar", maxcount=6, verbose=0) as writer:
        for at, file in enumerate(sorted(inbox.rglob("*.png"))):
            writer.write({"__key__": f"{at:05d}", "png": file.read_bytes(), "json": {"source": file.name}})
    parts = list(inbox_parts(str(tmp_path), 3))
    tars = [part for part in parts if not part.names]
    names = [name for part in tars for name, data in pictures(part) if isinstance(data, bytes)]
    assert len(tars) == 2 and names[0] == "000.tar/00000.png" and len(names) == COUNT + 1


@pytest.mark.parametrize("where", ["in a member", "between two members"])
def test_a_tar_cut_short_fails_alone_and_leaves_nothing(inbox: Path, tmp_path: Path, where: str) -> None:
    (tmp_path / "tars").mkdir()
    for name in ("a", "b"):
        tar_of(inbox, tmp_path / f"tars/{name}.tar")
    whole = (tmp_path / "tars/a.tar").read_bytes()
    with tarfile.open(tmp_path / "tars/a.tar") as tar:
        third = tar.getmembers()[3].offset
    (tmp_path / "tars/a.tar").write_bytes(whole[: third - (700 if where == "in a member" else 0)])
    out = tmp_path / "out"
    planned(tmp_path / "tars", out)
    with pytest.raises(Unavailable, match=r"1 of 2 shards failed: 0 .*not a whole tar"):
        run_shards(out, range(2), lambda plan: Eyes())
    assert manifest(out, 0) is None and manifest(out, 1) is not None
    (tmp_path / "tars/a.tar").write_bytes(whole)
    assert run_shards(out, range(2), lambda plan: Eyes())["new"] == 1


@pytest.fixture
def bucket(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The inbox in S3, spoken to over HTTP."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    store = boto3.client("s3")
    store.create_bucket(Bucket="farm")
    for file in sorted(inbox.rglob("*.*")):
        store.put_object(Bucket="farm", Key=f"inbox/{file.relative_to(inbox)}", Body=file.read_bytes())
    store.put_object(Bucket="farm", Key="tars/a.tar", Body=tar_of(inbox, inbox.parent / "a.tar").read_bytes())
    yield "s3://farm"
    server.stop()


def test_an_object_store_gives_the_rows_a_folder_gives(inbox: Path, bucket: str, tmp_path: Path) -> None:
    for name, url in (("here", str(inbox)), ("there", f"{bucket}/inbox")):
        assert planned(url, tmp_path / name).shards == 4
        run_shards(tmp_path / name, range(4), lambda plan: Eyes())
        merge(tmp_path / name)
    assert (tmp_path / "here" / MERGED).read_bytes() == (tmp_path / "there" / MERGED).read_bytes()
    [part] = inbox_parts(f"{bucket}/tars", 3)
    assert len([name for name, data in pictures(part) if isinstance(data, bytes)]) == COUNT + 2
    with pytest.raises(BadInput, match="no pictures"):
        list(inbox_parts(f"{bucket}/nowhere", 3))


def test_a_store_that_knows_no_credentials_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCredentials(Exception):
        """What botocore raises is no OSError."""

    class Store:
        def isfile(self, path: str) -> bool:
            raise NoCredentials("Unable to locate credentials")

        info = size = open = isfile

    monkeypatch.setattr("fsspec.core.url_to_fs", lambda url: (Store(), "farm"))
    with pytest.raises(Unavailable, match=r"s3://farm: cannot be listed \(Unable to locate credentials\)"):
        list(inbox_parts("s3://farm", 3))
    monkeypatch.setattr(Store, "open", lambda self, path, mode: self.isfile(path))
    for part in (Part("s3://farm", ("a.png",)), Part("s3://a.tar")):
        with pytest.raises(Unavailable, match=r"Unable to locate credentials\. Run the shard again"):
            list(pictures(part))


def test_a_plan_that_was_made_before_says_so(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pictures that have come since would be missed without a word."""
    monkeypatch.setattr("sam3_agent.mining.run._engine", lambda plan: Eyes())
    for _ in range(2):
        mine_inbox(str(inbox), tmp_path / "out", "hen", "sam3-lite", 0.3, 3, None, 0, None, 0, "1:00:00")
    said = capsys.readouterr().out.splitlines()
    assert [line.startswith("going on with the plan of 20") for line in said] == [False, True, False]
    with pytest.raises(BadInput, match="--tasks -1: expected 0 or more"):
        mine_inbox(str(inbox), tmp_path / "out", "hen", "sam3-lite", 0.3, 3, None, -1, None, 0, "1:00:00")


def test_what_vanished_since_planning_is_a_row_not_a_failure(inbox: Path) -> None:
    [(name, data)] = pictures(Part(str(inbox), ("gone.png",)))
    assert name == "gone.png" and isinstance(data, BadInput) and "gone since" in str(data)


@pytest.mark.parametrize("url", ["pipe:touch owned", "zip://x::memory://farm.zip"])
def test_addresses_that_run_or_chain_are_refused(url: str) -> None:
    with pytest.raises(BadInput, match="not opened"):
        list(inbox_parts(url, 3))


def test_an_unknown_store_and_an_empty_folder_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="Install the extra"):
        list(inbox_parts("nosuch://x", 3))
    with pytest.raises(BadInput, match="no pictures"):
        list(inbox_parts(str(tmp_path), 3))


def test_another_plan_is_refused_and_the_same_one_found(inbox: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = planned(inbox, out)
    assert planned(inbox, out) == first == load_plan(out)
    with pytest.raises(BadInput, match="another pictures_each"):
        planned(inbox, out, each=4)


def test_elements_share_the_shards_among_them() -> None:
    calls = element_calls(Path("out"), [1, 3, 4, 8, 9], 3)
    shared = [share(call.args[1], call.args[2], call.args[3]) for call in calls]
    assert shared == [[1, 8], [3, 9], [4]] and len(element_calls(Path("out"), [5], 64)) == 1


@pytest.mark.parametrize(("text", "numbers"), [("3,7-9", [3, 7, 8, 9]), ("0", [0]), ("2-2, 1", [1, 2])])
def test_shard_lists(text: str, numbers: list[int]) -> None:
    assert shard_numbers(text, 10) == numbers and shard_numbers(ranges(numbers), 10) == numbers


@pytest.mark.parametrize("text", ["", "x", "3-", "10", "-1"])
def test_shard_lists_that_are_none(text: str) -> None:
    with pytest.raises(BadInput, match="--shards"):
        shard_numbers(text, 10)


@pytest.mark.parametrize("damage", ["header", "zeros", "two in one"])
def test_a_tar_damaged_in_its_middle_is_not_taken_for_a_shorter_one(inbox: Path, tmp_path: Path, damage: str) -> None:
    tar = tar_of(inbox, tmp_path / "a.tar")
    with tarfile.open(tar) as whole:
        members = whole.getmembers()
    data, at = bytearray(tar.read_bytes()), members[len(members) // 2].offset
    if damage == "two in one":
        data += bytes(data)
    else:
        data[at : at + 512] = b"?" * 512 if damage == "header" else bytes(512)
    tar.write_bytes(data)
    part = Part(str(tar))
    with pytest.raises(Unavailable, match=r"not a whole tar .+damaged at or after byte"):
        list(pictures(part))


def test_what_is_no_file_is_said_of_that_picture_alone(inbox: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "a.png").write_bytes(next(inbox.glob("*.png")).read_bytes())
    os.mkfifo(odd / "pipe.png")
    (odd / "loop.png").symlink_to("loop.png")
    (odd / "folder.png").mkdir()
    read = dict(pictures(Part(str(odd), ("a.png", "folder.png", "loop.png", "pipe.png"))))
    assert isinstance(read["a.png"], bytes)
    for name in ("folder.png", "loop.png", "pipe.png"):
        assert isinstance(read[name], BadInput) and name in str(read[name]), read[name]


def test_a_model_that_is_gone_is_not_told_as_a_full_disk(inbox: Path, tmp_path: Path) -> None:
    class Gone(Eyes):
        def encode(self, images: Sequence[Any]) -> Any:
            raise ConnectionRefusedError(111, "Connection refused")

    out = tmp_path / "out"
    planned(inbox, out)
    with pytest.raises(Unavailable, match=r"the model does not answer \(Connection refused\)"):
        run_shards(out, range(1), lambda plan: Gone())


def test_a_name_that_is_not_utf8_is_left_out_and_said(inbox: Path, tmp_path: Path) -> None:
    bad = os.fsencode(inbox) + b"/h\xe4hn.png"
    shutil.copy(os.fsencode(min(inbox.rglob("*.png"))), bad)
    with pytest.warns(UserWarning, match=r"not UTF-8: 1 .*h.xe4hn"):
        parts = list(inbox_parts(str(inbox), 1000))
    assert parts and all(name.isprintable() for part in parts for name in part.names)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # fsspec's half-made FTP
@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("", "inbox: empty"),
        ("  ", "inbox: empty"),
        ("ftp://127.0.0.1:9/x", "cannot be reached"),
        ("ftp://", "no driver for this address"),
        ("fol\udcff", "is not UTF-8"),
    ],
)
def test_an_inbox_that_is_none_is_said_in_a_line(address: str, says: str) -> None:
    with pytest.raises(Sam3AgentError, match=says):
        list(inbox_parts(located(address), 10))


def test_a_member_of_a_tar_whose_name_is_not_utf8_is_left_out_and_said(inbox: Path, tmp_path: Path) -> None:
    path = tmp_path / "odd.tar"
    pictures_of = sorted(inbox.rglob("*.png"))
    with tarfile.open(path, "w") as tar:
        tar.add(pictures_of[0], "ok.png")
        tar.add(pictures_of[1], "h\udce4hn.png")
        tar.add(pictures_of[2], "new\nline.png")
    plan = make_plan(Plan(str(path), "hen", "sam3-lite", "abc", 0.3, 1000), tmp_path / "out")
    with pytest.warns(UserWarning, match="h.xe4hn"):
        run_shard(tmp_path / "out", 0, plan, Eyes())
    with gzip.open(rows_file(tmp_path / "out", 0), "rt") as stream:
        assert [json.loads(line)["name"] for line in stream] == ["odd.tar/ok.png", "odd.tar/new\nline.png"]
