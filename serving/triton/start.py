"""Start tritonserver in the container, load the models in order, and stay until it ends.

Nothing but the standard library. Models are loaded after start-up because the warm-up of `sam3` asks the others,
which a server that is still starting refuses. `/v2/models/sam3/ready` is the readiness probe.

    python3 start.py tritonserver --model-repository=/models ...
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

MODELS = (
    *("sam3_image_encoder", "sam3_text_encoder", "sam3_decoder", "sam3_fine_levels", "sam3_mask_head"),
    *("sam3", "sam3_video"),
)
HTTP = os.environ.get("SAM3_TRITON_HTTP", "http://127.0.0.1:8000")
PATIENCE = 900.0  # seconds: a TensorRT engine may be built while its model loads


def call(path: str, method: str = "GET") -> int:
    """HTTP status of a call to the server; 0 when it does not answer."""
    request = urllib.request.Request(f"{HTTP}/{path}", data=b"{}" if method == "POST" else None, method=method)
    key = os.environ.get("SAM3_TRITON_CONTROL_KEY")
    if key:
        request.add_header("sam3-control-key", key)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        print(f"{path}: {error.read().decode(errors='replace')[:500]}", file=sys.stderr)
        return int(error.code)
    except OSError:
        return 0


def load(server: subprocess.Popen[bytes]) -> bool:
    """Wait for the server, then load every model; False when it ended or refused one."""
    end = time.monotonic() + PATIENCE
    while call("v2/health/live") != 200:
        if server.poll() is not None or time.monotonic() > end:
            return False
        time.sleep(0.1)
    return all(call(f"v2/repository/models/{model}/load", "POST") == 200 for model in MODELS)


def main(command: list[str]) -> int:
    """Run the server; its status, or 1 when a model does not load."""
    server = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: server.send_signal(number))
    if not load(server):
        server.terminate()
        server.wait()
        return server.returncode or 1
    return server.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
