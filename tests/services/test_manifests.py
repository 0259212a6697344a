"""Every manifest in `cluster/` against its schema, unknown keys refused; nothing here reaches a cluster."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml

from tests.ray_nodes import ROOT

KUBERNETES = ROOT / "cluster/kubernetes"
VERSION = "1.33"
"""Of Kubernetes."""


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(KUBERNETES.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            yield f"{path.name} {document['kind']} {document['metadata']['name']}", document


NAMED = dict(documents())
SUBMITTED = "rayjob.yaml RayJob sweep"


def kuberay() -> dict[str, Any]:
    """KubeRay's own schema of a RayJob, unknown keys refused; $MICA_KUBERAY_SCHEMA says where it is."""
    place = os.environ.get("MICA_KUBERAY_SCHEMA")
    assert place, "set MICA_KUBERAY_SCHEMA to the JSON schema of KubeRay's RayJob"
    schema: dict[str, Any] = json.loads(Path(place).read_text())
    return schema


def check(document: dict[str, Any]) -> None:
    """Raises where a key is unknown or a value is none."""
    if document["kind"] == "RayJob":
        jsonschema.Draft202012Validator(kuberay()).validate(document)
        about = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": document["metadata"]}
        kubernetes_validate.validate(about, VERSION, strict=True)
    else:
        kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize("name", NAMED)
def test_a_manifest_is_valid(name: str) -> None:
    check(NAMED[name])


@pytest.mark.parametrize("name", NAMED)
def test_one_with_a_typo_is_not(name: str) -> None:
    """Each key in turn, however deep, misspelt: all but those of maps that take any key."""
    accepted = [path for path, wrong in misspelt(NAMED[name]) if is_valid(wrong)]
    assert not [path for path in accepted if path[-2] not in FREE]


FREE = {
    "labels",
    "matchLabels",
    "selector",
    "data",
    "nodeSelector",
    "rayStartParams",
    "requests",
    "limits",
    "annotations",
}
"""Maps whose keys are the author's."""


def is_valid(document: dict[str, Any]) -> bool:
    try:
        check(document)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError):
        return False
    return True


def misspelt(document: Any, path: tuple[object, ...] = ()) -> Iterator[tuple[tuple[object, ...], Any]]:
    """Where, and a copy of the document in which one key has a letter too many there."""
    if isinstance(document, dict):
        for key, value in document.items():
            if path or key not in ("kind", "apiVersion"):
                wrong = {(f"{name}x" if name == key else name): inner for name, inner in document.items()}
                yield (*path, key), wrong
            for where, inner in misspelt(value, (*path, key)):
                yield where, {**document, key: inner}
    elif isinstance(document, list):
        for index, value in enumerate(document):
            for where, inner in misspelt(value, (*path, index)):
                yield where, [*document[:index], inner, *document[index + 1 :]]


def test_the_sweep_inside_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mica.sweep.plan.spec import load_sweep

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    file = tmp_path / "sweep.yaml"
    file.write_text(NAMED["sweep.yaml ConfigMap sweep"]["data"]["sweep.yaml"])
    spec = load_sweep(file)
    assert spec.resources.gpu == 0.25 and spec.times.nodes > 0


def test_the_rayjob_is_as_it_says() -> None:
    cluster = NAMED[SUBMITTED]["spec"]["rayClusterSpec"]
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert cluster["rayVersion"] == ray.__version__ and cluster["authOptions"]["mode"] == "token"
    assert head["rayStartParams"]["num-cpus"] == "0" and workers["minReplicas"] == 0
    for group in (head, workers):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not any(each["securityContext"]["allowPrivilegeEscalation"] for each in pod["containers"])
    assert workers["template"]["spec"]["terminationGracePeriodSeconds"] > 90


def aws() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "cluster/cloud/aws.yaml").read_text())
    return found


def check_launcher(cluster: dict[str, Any]) -> None:
    """Raises where Ray's launcher or AWS would refuse it."""
    from botocore.session import get_session
    from botocore.validate import ParamValidator

    schema = Path(ray.__file__).parent / "autoscaler/ray-schema.json"
    jsonschema.Draft7Validator(json.loads(schema.read_text())).validate(cluster)
    calls = get_session().get_service_model("ec2")
    validator = ParamValidator()
    provider = cluster["provider"]
    faults = [
        validator.validate(
            {"MinCount": 1, "MaxCount": 1, **each["node_config"]}, shape_of(calls, "RunInstances")
        )
        for each in cluster["available_node_types"].values()
    ]
    group = provider["security_group"]
    faults.append(validator.validate(group, shape_of(calls, "AuthorizeSecurityGroupIngress")))
    unknown = provider.keys() - {"type", "region", "cache_stopped_nodes", "security_group"}
    words = [fault.generate_report() for fault in faults if fault.has_errors()] + sorted(unknown)
    if words:
        raise ValueError("; ".join(words))


def shape_of(calls: Any, name: str) -> Any:
    return calls.operation_model(name).input_shape


def test_the_launcher_s_file_is_valid() -> None:
    check_launcher(aws())


def test_the_launcher_s_file_with_a_typo_is_not() -> None:
    accepted = [path for path, wrong in misspelt(aws()) if launches(wrong)]
    free = {"available_node_types", "file_mounts", "resources"}
    assert not [path for path in accepted if not free & set(path[-2:-1])]


def launches(cluster: dict[str, Any]) -> bool:
    try:
        check_launcher(cluster)
    except (jsonschema.ValidationError, ValueError, KeyError):
        return False
    return True
