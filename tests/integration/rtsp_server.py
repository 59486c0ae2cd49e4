"""A camera for tests: GStreamer's RTSP server, H.264, with the time of each frame drawn into it.

Run by the system's Python (it has the bindings): python3 rtsp_server.py PORT WIDTH HEIGHT RATE. Says "ready" when it listens; a line
"size WIDTH HEIGHT" on its input changes the picture's size in mid-stream. The top rows are 32 black or white blocks: milliseconds of
the machine's monotonic clock, highest bit first. Below, an orange square goes to and fro over grey.
"""

import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

SQUARE, BAND = 40, 32
# One encoder thread, so one slice a picture: with two, rtph264pay puts the parameter sets between them as well, and a
# receiver takes the second slice for a picture of its own, whose upper half never came.
PIPELINE = (
    "( appsrc name=src is-live=true format=time do-timestamp=true block=false max-bytes=4000000 ! videoconvert ! video/x-raw,format=I420 "
    "! x264enc tune=zerolatency threads=1 speed-preset=ultrafast key-int-max=15 bitrate=1500 "
    "! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)


def picture(width, height, number):
    """RGB bytes of one frame."""
    now = int(time.monotonic() * 1000) & 0xFFFFFFFF
    block = width // 32
    bits = b"".join((b"\xff" if now >> (31 - at) & 1 else b"\x00") * (3 * block) for at in range(32))
    top = bits + b"\x00" * (3 * (width - 32 * block))
    plain = b"\x78" * (3 * width)
    span = width - SQUARE
    x = abs((4 * number) % (2 * span) - span)
    with_square = b"\x78" * (3 * x) + bytes((255, 120, 0)) * SQUARE + b"\x78" * (3 * (width - SQUARE - x))
    y = height // 2
    return top * BAND + plain * (y - BAND) + with_square * SQUARE + plain * (height - y - SQUARE)


class Camera:
    def __init__(self, width, height, rate):
        self.size, self.rate, self.source = (width, height), rate, None
        threading.Thread(target=self.push, daemon=True).start()

    def configure(self, factory, media):
        source = media.get_element().get_by_name_recurse_up("src")
        self.declare(source)
        self.source = source
        media.connect("unprepared", lambda *_: setattr(self, "source", None))

    def declare(self, source):
        width, height = self.size
        caps = f"video/x-raw,format=RGB,width={width},height={height},framerate={self.rate}/1"
        source.set_property("caps", Gst.Caps.from_string(caps))

    def resize(self, width, height):
        self.size = (width, height)
        if self.source is not None:
            self.declare(self.source)

    def push(self):
        number, due = 0, time.monotonic()
        while True:
            due += 1 / self.rate
            time.sleep(max(0, due - time.monotonic()))
            source, size = self.source, self.size
            if source is not None:
                source.emit("push-buffer", Gst.Buffer.new_wrapped(picture(*size, number)))
            number += 1


def main():
    port, width, height, rate = (int(value) for value in sys.argv[1:5])
    Gst.init(None)
    camera, server, factory = Camera(width, height, rate), GstRtspServer.RTSPServer(), GstRtspServer.RTSPMediaFactory()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    factory.set_launch(PIPELINE)
    factory.set_shared(True)
    factory.connect("media-configure", camera.configure)
    server.get_mount_points().add_factory("/barn", factory)
    if not server.attach(None):
        sys.exit("cannot listen")
    loop = GLib.MainLoop()

    def listen():
        for line in sys.stdin:
            words = line.split()
            if words[:1] == ["size"]:
                camera.resize(int(words[1]), int(words[2]))
        loop.quit()

    threading.Thread(target=listen, daemon=True).start()
    print("ready", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
