"""Outputs of nvidia-smi and nvcc, as recorded, become typed values."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sam3.errors import Unavailable
from sam3_agent.hardware.gpus import Holder, find_gpus, find_nvcc, run_command

ONE_A100 = "0, GPU-aa, 550.54.15, 40960, 40338, Disabled, NVIDIA A100-SXM4-40GB\n"
TWO_CARDS = (
    "0, GPU-aa, 535.161.08, 24564, 24200, [N/A], NVIDIA GeForce RTX 4090\n"
    "1, GPU-bb, 535.161.08, 24564, 1200, [N/A], NVIDIA GeForce RTX 4090\n"
)
MIG = "0, GPU-aa, 550.54.15, 40960, 40338, Enabled, NVIDIA A100-SXM4-40GB\n"
MIG_LIST = (
    "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa)\n"
    "  MIG 3g.20gb     Device  0: (UUID: MIG-1)\n"
    "  MIG 1g.5gb      Device  1: (UUID: MIG-2)\n"
)
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running."
)
NVCC = (
    "nvcc: NVIDIA (R) Cuda compiler driver\nCopyright (c) 2005-2024 NVIDIA Corporation\n"
    "Cuda compilation tools, release 12.4, V12.4.131\nBuild cuda_12.4.r12.4/compiler.34097967_0\n"
)


class Recorded:
    """Replays outputs by the first option of the command; a missing one is a missing tool."""

    def __init__(self, **outputs: str | Exception) -> None:
        self.outputs = outputs

    def __call__(self, argv: Sequence[str]) -> str:
        key = argv[1].split("=")[0].lstrip("-").replace("-", "_")
        if key not in self.outputs:
            raise FileNotFoundError(argv[0])
        output = self.outputs[key]
        if isinstance(output, Exception):
            raise output
        return output


def test_no_nvidia_smi_means_no_gpu() -> None:
    assert find_gpus(Recorded()) == []


def test_no_card_means_no_gpu() -> None:
    assert find_gpus(Recorded(query_gpu="\n")) == []
    assert find_gpus(Recorded(query_gpu="No devices were found\n")) == []


def test_one_card() -> None:
    (gpu,) = find_gpus(Recorded(query_gpu=ONE_A100, query_compute_apps=""))
    assert (gpu.name, gpu.driver, gpu.total_mib, gpu.free_mib) == (
        "NVIDIA A100-SXM4-40GB",
        "550.54.15",
        40960,
        40338,
    )
    assert gpu.slices is None and gpu.holders == ()


def test_holders_go_to_their_card_even_with_commas_in_the_name() -> None:
    apps = "GPU-bb, 4242, 22810, /opt/x/python,train\nGPU-bb, 4243, [N/A], [Not Found]\n"
    first, second = find_gpus(Recorded(query_gpu=TWO_CARDS, query_compute_apps=apps))
    assert first.holders == ()
    assert second.holders == (Holder(4242, "/opt/x/python,train", 22810), Holder(4243, "[Not Found]", None))


def test_an_old_driver_that_refuses_the_process_query_names_nobody() -> None:
    (gpu,) = find_gpus(Recorded(query_gpu=ONE_A100, query_compute_apps=Unavailable("nvidia-smi: invalid field")))
    assert gpu.holders == ()


def test_mig_slices_are_listed() -> None:
    (gpu,) = find_gpus(Recorded(query_gpu=MIG, query_compute_apps="", L=MIG_LIST))
    assert gpu.slices == ("3g.20gb", "1g.5gb")


def test_mig_without_slices() -> None:
    (gpu,) = find_gpus(Recorded(query_gpu=MIG, query_compute_apps="", L="GPU 0: NVIDIA A100 (UUID: GPU-aa)\n"))
    assert gpu.slices == ()


def test_memory_the_driver_hides_is_none() -> None:
    row = "0, GPU-aa, 550.54.15, [N/A], [Insufficient Permissions], [N/A], NVIDIA GB10\n"
    (gpu,) = find_gpus(Recorded(query_gpu=row, query_compute_apps=""))
    assert gpu.total_mib is None and gpu.free_mib is None


def test_a_driver_that_is_not_loaded_is_said_in_its_own_words() -> None:
    with pytest.raises(Unavailable, match="couldn't communicate with the NVIDIA driver"):
        find_gpus(Recorded(query_gpu=Unavailable(NO_DRIVER)))


@pytest.mark.parametrize(
    ("recorded", "release"),
    [
        (Recorded(version=NVCC), "12.4"),
        (Recorded(), None),
        (Recorded(version="what?"), None),
        (Recorded(version=Unavailable("nvcc: broken")), None),
    ],
)
def test_release_of_the_toolkit(recorded: Recorded, release: str | None) -> None:
    assert find_nvcc(recorded) == release


def test_a_failing_command_is_one_line_with_its_first_words() -> None:
    with pytest.raises(Unavailable, match=r"sh: no luck$"):
        run_command(["sh", "-c", "echo no luck; echo more; exit 9"])
    with pytest.raises(FileNotFoundError):
        run_command(["no-such-tool-here"])
