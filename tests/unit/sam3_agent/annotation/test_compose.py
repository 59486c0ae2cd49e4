"""Label Studio on Postgres by compose: valid, pinned, nothing published beyond loopback, no secret with a default."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml


def test_compose_is_valid_pinned_and_private(repo_root: Path) -> None:
    file = repo_root / "serving/annotation.compose.yaml"
    tool = Path(sys.executable).with_name("check-jsonschema")
    subprocess.run([tool, "--builtin-schema", "vendor.compose-spec", file], check=True, capture_output=True)
    text = file.read_text()
    services = yaml.safe_load(text)["services"]
    assert services["label-studio"]["environment"]["DJANGO_DB"] == "default", "Postgres, not SQLite"
    for name, service in services.items():
        assert ":" in service["image"] and not service["image"].endswith(":latest"), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    for variable in re.findall(r"\$\{(\w*(?:PASSWORD|TOKEN|SECRET)\w*)", text):
        assert f"${{{variable}:?" in text and f"${{{variable}:-" not in text
    lock = (repo_root / "src/sam3_agent/annotation/label-studio-requirements.lock").read_text()
    version = services["label-studio"]["image"].rpartition(":")[2]
    assert f"label-studio=={version} " in lock, "one version, here and in a container"
