"""Training runs, releases and their aliases on SageMaker's managed MLflow, named by its ARN in MLFLOW_TRACKING_URI.

The plugin is the real one, and so is MLflow behind the front door that is played.
"""

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import boto3
import httpx
import mlflow
import pytest

from sluice.core.tracking import open_tracking
from sluice.core.workspace import Workspace
from sluice.extras.finetune.training_record import EXPERIMENT, log_training
from sluice.release import mlflow_registry
from sluice.release.mlflow_registry import ADAPTER_MODEL
from support.aws.moto_server import aws_server
from support.aws.sagemaker_runs import BUCKET
from support.libraries import Library
from support.local_server import QuietHandler, local_server
from support.mlflow_server import MlflowServer
from unit.aws.test_bootstrap import template
from unit.release.conftest import miniature, release_of

Library("sagemaker_mlflow")
pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]  # a busy machine takes minutes to start a server
# MLflow 3's calls for which AWS has no action: cfn-lint's copy of the service authorization reference.
WITHOUT_ACTION = {"CreateLoggedModel"}
ARN = "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/assistant"
_ARN_HEADER = "x-mlflow-sm-tracking-server-arn"
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=testing/\d{8}/(?P<scope>[\w/-]+)/aws4_request, "
    r"SignedHeaders=(?P<names>\S+), Signature=\w+"
)


class ManagedMlflow(QuietHandler):
    """The real MLflow server behind what AWS puts in front of it.

    Each request is signed for the service `sagemaker-mlflow` and names the ARN of its tracking server, as the plugin
    sagemaker-mlflow 0.5.0 sends it (auth.py, mlflow_sagemaker_request_header_provider.py); another one is refused with
    403 as AWS does. The signature itself is botocore's, and not computed again. Files are put into S3 by the clients.

    `asked`: (method, path) of each request that was let in; `refused`: the reasons of those that were not.
    """

    protocol_version = "HTTP/1.1"
    server_url = ""
    asked: ClassVar[list[tuple[str, str]]] = []
    refused: ClassVar[list[str]] = []

    def _answer(self) -> None:
        body = self.body
        if fault := self._fault(body):
            self.refused.append(fault)
            return self.reply(403, b'{"message": "User is not authorized"}')
        self.asked.append((self.command, self.path.partition("?")[0]))
        kept = {name: value for name, value in self.headers.items() if name.lower() == "content-type"}
        answer = httpx.request(
            self.command, self.server_url + self.path, content=body, headers=kept, timeout=120, trust_env=False
        )
        return self.reply(answer.status_code, answer.content)

    do_GET = do_POST = do_PATCH = do_DELETE = _answer

    def _fault(self, body: bytes) -> str:
        """Return why AWS would refuse the request, or an empty text."""
        signed = _SIGNED.fullmatch(self.headers.get("Authorization", ""))
        if not signed:
            return "not signed"
        if signed["scope"] != "eu-west-1/sagemaker-mlflow":
            return f"signed for {signed['scope']}"
        if self.headers.get(_ARN_HEADER) != ARN or _ARN_HEADER not in signed["names"].split(";"):
            return f"signed without the server: {signed['names']}"
        signs_it = self.headers["X-Amz-Content-SHA256"] == sha256(body).hexdigest()
        return "" if signs_it else "another body than was signed"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"), f"s3://{BUCKET}/mlflow")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def _front(server: MlflowServer, monkeypatch: pytest.MonkeyPatch, loopback: None) -> Iterator[None]:  # noqa: ARG001
    ManagedMlflow.server_url = server.url
    with aws_server(monkeypatch, region="eu-west-1"), local_server(ManagedMlflow) as address:
        region = {"LocationConstraint": "eu-west-1"}
        boto3.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=region)
        mlflow.set_tracking_uri(None)  # what another test left; it takes the variable away too
        monkeypatch.setenv("MLFLOW_TRACKING_URI", ARN)
        monkeypatch.setenv("SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT", address)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        yield
        mlflow.set_tracking_uri(None)


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Workspace, Path]:
    workspace = miniature(tmp_path / "checkout")
    out = workspace.build / "adapter"
    record = {
        "parameters": {"rank": 16},
        "base_sha256": "b" * 64,
        "data_digest": "d" * 64,
        "loss": [[1, 2.5], [2, 1.5]],
    }
    (out / "training.json").write_text(json.dumps(record))
    (out / "loss.csv").write_text("step,loss\n")
    return workspace, out


@pytest.mark.usefixtures("_front")
def test_a_training_and_a_release_are_kept_there_and_the_roles_may_do_that(trained: tuple[Workspace, Path]) -> None:
    workspace, out = trained
    run = log_training(workspace, out)
    client, _ = open_tracking(workspace, EXPERIMENT)
    assert client.get_run(run).data.metrics["loss"] == 1.5
    manifest, _ = release_of(workspace)
    mlflow_registry.promote_aliases(workspace, manifest)
    assert manifest.adapter
    version = client.get_model_version_by_alias(ADAPTER_MODEL, mlflow_registry.CHAMPION)
    assert version.tags["sha256"] == manifest.adapter.sha256
    assert mlflow_registry.disagreements(workspace, manifest, mlflow_registry.CHAMPION) == []
    assert ManagedMlflow.refused == []
    kept = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="mlflow/")["Contents"]
    assert any(one["Key"].endswith("/loss.csv") for one in kept)

    called = {_action(*one) for one in ManagedMlflow.asked}
    policy = template()["Resources"]["MlflowPolicy"]["Properties"]
    assert {one["Ref"] for one in policy["Roles"]} == {"BuildRole", "ProductionRole", "SageMakerRole", "StagingRole"}
    (tracks,) = [one for one in policy["PolicyDocument"]["Statement"] if one["Sid"] == "TrackRuns"]
    assert tracks["Resource"] == {"If": ["MakesMlflow", {"Ref": "MlflowApp"}, {"Ref": "Mlflow"}]}
    assert "sagemaker:CallMlflowAppApi" in tracks["Action"]  # cfn-lint's copy: an app has this one for all of them
    allowed = {action.removeprefix("sagemaker-mlflow:") for action in tracks["Action"]}
    assert called - WITHOUT_ACTION - allowed == set()
    assert called >= WITHOUT_ACTION


def _action(method: str, path: str) -> str:
    """MLflow's own name of a call, which AWS's actions are named after."""
    return next(name for asked, pattern, name in _calls() if asked == method and _fits(pattern, path))


def _calls() -> Iterator[tuple[str, str, str]]:
    from mlflow.protos.model_registry_pb2 import ModelRegistryService
    from mlflow.protos.service_pb2 import MlflowService
    from mlflow.utils.rest_utils import _REST_API_PATH_PREFIX, extract_all_api_info_for_service

    for service in (MlflowService, ModelRegistryService):
        found: Any = extract_all_api_info_for_service(service, _REST_API_PATH_PREFIX)
        for message, places in found.items():
            for path, method in places:
                yield method, path, str(message.DESCRIPTOR.name)


def _fits(pattern: str, path: str) -> bool:
    words, asked = pattern.split("/"), path.split("/")
    return len(words) == len(asked) and all(w.startswith("{") or w == a for w, a in zip(words, asked, strict=True))
