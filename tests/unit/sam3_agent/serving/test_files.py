"""serving/: compose, manifests, Dockerfiles, alerts and dashboard hold against their schemas and against each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sam3.triton.meters import FAMILIES
from sam3_agent.serving.model_configs import MODELS
from sam3_agent.serving.server import KEY_HEADER

# what Triton 2.51 itself exports (docs/user_guide/metrics.md of its release)
TRITON = {
    "nv_inference_request_success", "nv_inference_request_failure", "nv_inference_count", "nv_inference_exec_count",
    "nv_inference_queue_duration_us", "nv_inference_request_summary_us", "nv_inference_pending_request_count",
    "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes", "nv_gpu_utilization",
}  # fmt: skip
MANIFESTS = ("agent", "namespace", "prometheus-adapter", "secrets", "triton")


@pytest.fixture
def serving(repo_root: Path) -> Path:
    return repo_root / "serving"


@pytest.fixture
def objects(serving: Path) -> list[dict[str, Any]]:
    """Every Kubernetes object."""
    return [row for name in MANIFESTS for row in yaml.safe_load_all((serving / f"kubernetes/{name}.yaml").read_text())]


def run(*command: str | Path, cwd: Path | None = None) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


def tool(name: str) -> Path:
    return Path(sys.executable).parent / name


def test_compose_holds_against_the_compose_specification(serving: Path) -> None:
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", serving / "compose.yaml")


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_hold_against_the_schemas_of_kubernetes(serving: Path, name: str) -> None:
    run(tool("kubernetes-validate"), "--strict", serving / f"kubernetes/{name}.yaml")


def test_a_wrong_manifest_would_be_found(serving: Path, tmp_path: Path) -> None:
    text = (serving / "kubernetes/triton.yaml").read_text().replace("readinessProbe", "readynessProbe")
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(AssertionError, match="readynessProbe"):
        run(tool("kubernetes-validate"), "--strict", tmp_path / "wrong.yaml")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize("check", [("config", "prometheus.yml"), ("rules", "alerts.yml")], ids=["config", "rules"])
def test_prometheus_takes_its_files(serving: Path, check: tuple[str, str]) -> None:
    run("promtool", "check", *check, cwd=serving / "prometheus")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_alerts_fire_when_they_should(serving: Path) -> None:
    run("promtool", "test", "rules", "alerts_test.yml", cwd=serving / "prometheus")


def test_alerts_and_dashboard_speak_of_metrics_that_exist(serving: Path) -> None:
    board = json.loads((serving / "grafana/dashboards/sam3.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((serving / "prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    queries += [rule["expr"] for rule in rules]
    named = {name for query in queries for name in re.findall(r"\b(?:nv|sam3)_[a-z_]+", query)}
    assert named <= TRITON | set(FAMILIES)
    assert {"sam3_stage_microseconds_total", "sam3_cache_total", "sam3_presence_sum"} <= named


def test_the_dashboard_shows_what_an_operator_looks_for(serving: Path) -> None:
    board = json.loads((serving / "grafana/dashboards/sam3.json").read_text())
    titles = " ".join(panel["title"].lower() for panel in board["panels"])
    for topic in ("latency by stage", "throughput", "cache hits", "queue", "errors", "gpu memory", "drift of presence"):
        assert topic in titles
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_compose_has_every_service_pinned_and_without_rights_to_spare(serving: Path) -> None:
    services = yaml.safe_load((serving / "compose.yaml").read_text())["services"]
    assert set(services) == {
        "triton", "agent", "redis", "prometheus", "grafana", "mlflow", "prefect", "label-studio",
    }  # fmt: skip
    for name, service in services.items():
        assert re.search(r":[^:@]*\d", service["image"]), f"{name}: pinned to a version"
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])), f"{name}: loopback only"
    assert all(
        volume.endswith(":ro") or volume.split(":")[0].isidentifier() for volume in services["triton"]["volumes"]
    )


def test_no_secret_has_a_default(serving: Path) -> None:
    text = (serving / "compose.yaml").read_text()
    for name in re.findall(r"\$\{([A-Z0-9_]+)[^}]*\}", text):
        assert re.search(rf"\$\{{{name}:\?", text), f"{name}: refuse to start without it"
        assert not re.search(rf"\$\{{{name}:-", text)


@pytest.mark.parametrize("name", ["triton", "agent"])
def test_dockerfiles_are_pinned_and_end_as_somebody_else_than_root(serving: Path, name: str) -> None:
    lines = (serving / name / "Dockerfile").read_text().splitlines()
    for base in [line.split()[1] for line in lines if line.startswith("FROM")]:
        assert re.search(r":\d", base) and not base.endswith(":latest")
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users and users[-1].split(":")[0] not in ("0", "root")
    assert any(line.startswith("HEALTHCHECK") for line in lines)


def test_what_is_copied_into_images_is_there(serving: Path, repo_root: Path) -> None:
    for file in serving.glob("*/Dockerfile"):
        for line in file.read_text().splitlines():
            if line.startswith("COPY") and "--from" not in line:
                *sources, _ = [part for part in line.split()[1:] if not part.startswith("--")]
                for source in sources:
                    assert (repo_root / source).exists(), f"{file}: {source}"


def test_pods_are_probed_bounded_and_unprivileged(objects: list[dict[str, Any]]) -> None:
    deployments = [row for row in objects if row["kind"] == "Deployment"]
    assert {row["metadata"]["name"] for row in deployments} == {"agent", "triton"}
    for row in deployments:
        pod = row["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe", "resources"} <= set(container)
            guard = container["securityContext"]
            assert guard["readOnlyRootFilesystem"] and not guard["allowPrivilegeEscalation"]
            assert guard["capabilities"]["drop"] == ["ALL"]
        assert row["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_each_deployment_has_service_budget_and_scaling(objects: list[dict[str, Any]]) -> None:
    for kind in ("Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"):
        assert {"agent", "triton"} <= {row["metadata"]["name"] for row in objects if row["kind"] == kind}
    scaling = next(
        row for row in objects if row["kind"] == "HorizontalPodAutoscaler" and row["metadata"]["name"] == "triton"
    )
    [metric] = scaling["spec"]["metrics"]
    adapter = next(row for row in objects if row["kind"] == "ConfigMap")
    [rule] = yaml.safe_load(adapter["data"]["config.yaml"])["rules"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert "nv_inference_queue_duration_us" in rule["metricsQuery"]


def test_triton_reads_its_repository_only_and_guards_its_control(objects: list[dict[str, Any]], serving: Path) -> None:
    triton = next(row for row in objects if row["kind"] == "Deployment" and row["metadata"]["name"] == "triton")
    [container] = triton["spec"]["template"]["spec"]["containers"]
    assert next(item for item in container["volumeMounts"] if item["name"] == "models")["readOnly"]
    composed = yaml.safe_load((serving / "compose.yaml").read_text())["services"]["triton"]["command"]
    for arguments in (container["args"], composed):
        for flag in ("--http-restricted-api", "--grpc-restricted-protocol"):
            [value] = [item for item in arguments if item.startswith(flag)]
            assert "model-repository,shared-memory" in value
            assert KEY_HEADER in value


def test_secrets_come_from_the_secret(objects: list[dict[str, Any]]) -> None:
    secret = next(row for row in objects if row["kind"] == "Secret")
    for row in objects:
        if row["kind"] != "Deployment":
            continue
        for container in row["spec"]["template"]["spec"]["containers"]:
            for variable in container["env"]:
                if "KEY" in variable["name"]:
                    reference = variable["valueFrom"]["secretKeyRef"]
                    assert reference["name"] == secret["metadata"]["name"]
                    assert reference["key"] in secret["stringData"]


def test_the_container_loads_the_same_models_in_the_same_order(serving: Path) -> None:
    found = re.search(r"MODELS = (\(.*?\n\))", (serving / "triton/start.py").read_text(), re.S)
    assert found is not None
    assert tuple(re.findall(r'"(\w+)"', found[1])) == MODELS
