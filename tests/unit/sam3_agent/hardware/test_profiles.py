"""What each profile forgives: without a GPU nothing fails, with too little disk or RAM everything does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sam3_agent.checks import worst
from sam3_agent.hardware.gpus import Gpu, Holder
from sam3_agent.hardware.machine import Machine
from sam3_agent.hardware.profiles import REQUIREMENTS, judge

CARD = Gpu(0, "NVIDIA A100", "580.65.06", 81920, 80000, None, ())
WORKSTATION = Machine(
    gpus=(CARD,),
    gpu_problem="",
    nvcc="13.0",
    torch="2.15.0",
    torch_cuda="13.2",
    disk_free_gb=500,
    disk_write_mb_s=900,
    disk_read_mb_s=2000,
    disk_problem="",
    cpu_name="x",
    cpu_cores=16,
    ram_gb=64,
)


def status_of(machine: Machine, profile: Any, name: str) -> tuple[str, str]:
    (check,) = [c for c in judge(machine, profile) if c.name == name]
    return check.status, check.found + " " + check.advice


@pytest.mark.parametrize("profile", REQUIREMENTS)
def test_a_workstation_passes_everything(profile: Any) -> None:
    assert worst(judge(WORKSTATION, profile)) == "ok"


@pytest.mark.parametrize(("profile", "words"), [("demo", "minutes"), ("train", "days"), ("serve", "seconds")])
def test_without_a_gpu_it_says_what_will_be_slow(profile: Any, words: str) -> None:
    laptop = replace(WORKSTATION, gpus=(), nvcc=None)
    assert worst(judge(laptop, profile)) == "warning"
    status, text = status_of(laptop, profile, "GPU")
    assert status == "warning" and words in text


@pytest.mark.parametrize(
    ("change", "name", "demo", "train", "words"),
    [
        ({"disk_free_gb": 40}, "disk free", "ok", "failed", "100 GB"),
        ({"disk_free_gb": 1.5}, "disk free", "failed", "failed", "1.5 GB"),
        ({"disk_write_mb_s": 20}, "disk speed", "warning", "warning", "SSD"),
        (
            {"disk_write_mb_s": None, "disk_problem": "/x: cannot"},
            "disk speed",
            "failed",
            "failed",
            "/x: cannot",
        ),
        ({"ram_gb": 4.0}, "RAM", "ok", "failed", "killed"),
        ({"cpu_cores": 2}, "CPU", "ok", "warning", "slow"),
        (
            {"nvcc": "12.4"},
            "CUDA toolkit",
            "warning",
            "warning",
            "nvcc 12.4; torch 2.15.0 is built with CUDA 13.2",
        ),
        ({"nvcc": None}, "CUDA toolkit", "ok", "ok", "no nvcc"),
        ({"torch_cuda": None}, "CUDA toolkit", "warning", "warning", "built without CUDA"),
        ({"gpus": (), "gpu_problem": "nvidia-smi: no driver"}, "GPU", "warning", "warning", "no driver"),
    ],
)
def test_what_is_short(change: dict[str, Any], name: str, demo: str, train: str, words: str) -> None:
    machine = replace(WORKSTATION, **change)
    assert (status_of(machine, "demo", name)[0], status_of(machine, "train", name)[0]) == (demo, train)
    assert words in status_of(machine, "train", name)[1]


@pytest.mark.parametrize(
    ("card", "name", "train", "words"),
    [
        (
            replace(CARD, driver="470.82.01"),
            "GPU 0 driver",
            "failed",
            "580 or newer (torch 2.15.0 is built with CUDA 13.2)",
        ),
        (replace(CARD, driver="550.54.15"), "GPU 0 driver", "failed", "580"),
        (replace(CARD, driver="[N/A]"), "GPU 0 driver", "failed", "580"),
        (replace(CARD, free_mib=3000), "GPU 0 free memory", "failed", "larger GPU"),
        (
            replace(CARD, free_mib=3000, holders=(Holder(42, "python", 77000),)),
            "GPU 0 free memory",
            "failed",
            "End python (pid 42, 77000 MiB)",
        ),
        (
            replace(CARD, holders=(Holder(42, "Xorg", None),)),
            "GPU 0 free memory",
            "ok",
            "held by Xorg (pid 42, size unknown)",
        ),
        (replace(CARD, free_mib=None), "GPU 0 free memory", "warning", "does not tell"),
        (replace(CARD, slices=("3g.20gb", "1g.5gb")), "GPU 0 free memory", "failed", "largest slice 20 GB"),
        (replace(CARD, slices=("1c.7g.80gb+me",)), "GPU 0 free memory", "ok", "largest slice 80 GB"),
        (replace(CARD, slices=()), "GPU 0", "warning", "no slices made"),
    ],
)
def test_what_is_wrong_with_a_card(card: Gpu, name: str, train: str, words: str) -> None:
    status, text = status_of(replace(WORKSTATION, gpus=(card,)), "train", name)
    assert status == train
    assert words in text


def test_driver_525_is_enough_for_a_cuda_12_build() -> None:
    machine = replace(WORKSTATION, torch_cuda="12.8", gpus=(replace(CARD, driver="525.60.13"),))
    assert status_of(machine, "train", "GPU 0 driver")[0] == "ok"
    older = replace(machine, gpus=(replace(CARD, driver="520.1"),))
    assert "525 or newer (SAM 3 needs it)" in status_of(older, "train", "GPU 0 driver")[1]


def test_a_bad_card_only_warns_the_demo_which_runs_on_the_cpu() -> None:
    machine = replace(WORKSTATION, gpus=(replace(CARD, driver="470.82.01", free_mib=10),))
    assert worst(judge(machine, "demo")) == "warning"
    assert worst(judge(machine, "serve")) == "failed"


def test_one_usable_card_of_several_is_enough() -> None:
    full = replace(CARD, index=1, free_mib=100)
    assert worst(judge(replace(WORKSTATION, gpus=(full, CARD)), "train")) == "warning"
    assert worst(judge(replace(WORKSTATION, gpus=(full, full)), "train")) == "failed"
