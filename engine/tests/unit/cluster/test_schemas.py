"""Schemas of custom resources: closed, and made only of files with the sha256 that is written down."""

from __future__ import annotations

import hashlib
import json
import runpy
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from sluice.cluster.manifests import read_schema
from sluice.core.errors import SluiceError

SCRIPT = runpy.run_path(str(Path(__file__).parents[3] / "scripts" / "write_cluster_schemas.py"))
close, write_schemas = SCRIPT["close"], SCRIPT["write_schemas"]
pytestmark = pytest.mark.usefixtures("loopback")
AT = f"owner/project/{'a' * 40}/crds"
SPEC = {
    "type": "object",
    "description": "words",
    "properties": {
        "weight": {"x-kubernetes-int-or-string": True},
        "steps": {"type": "array", "items": {"type": "object", "properties": {"pause": {"type": "integer"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "any": {"type": "object", "properties": {"a": {}}, "x-kubernetes-preserve-unknown-fields": True},
    },
}
DEFINITION = {
    "spec": {
        "group": "example.io",
        "names": {"kind": "Thing"},
        "versions": [
            {
                "name": "v1",
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": SPEC}}},
            }
        ],
    }
}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    served = tmp_path / "served" / AT
    served.mkdir(parents=True)
    (served / "thing.yaml").write_text(yaml.safe_dump(DEFINITION))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served")))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def sources(folder: Path, digest: str) -> None:
    entry = {"project": "Thing", "licence": "Apache-2.0", "at": AT, "files": {"thing.yaml": digest}}
    (folder / "sources.yaml").write_text(yaml.safe_dump([entry]))


def test_a_definition_becomes_a_closed_schema(tmp_path: Path, host: str) -> None:
    sources(tmp_path, hashlib.sha256(yaml.safe_dump(DEFINITION).encode()).hexdigest())
    (path,) = write_schemas(tmp_path, host=host)
    assert path.name == "example.io_thing.json"
    validator = Draft7Validator(read_schema(tmp_path, "example.io", "Thing"))
    good = {
        "apiVersion": "example.io/v1",
        "kind": "Thing",
        "metadata": {"name": "x"},
        "spec": {"weight": "10%", "steps": [{"pause": 1}], "labels": {"a": "b"}, "any": {"b": 1}},
    }
    assert validator.is_valid(good)
    for change in (
        {"spec": {"wieght": 1}},
        {"spec": {"steps": [{"pauze": 1}]}},
        {"metadata": {"name": "x", "lables": {}}},
        {"apiVersion": "example.io/v2"},
        {"status": {}},
    ):
        assert not validator.is_valid({**good, **change}), change
    assert "words" not in json.dumps(json.loads(path.read_text()))


def test_a_file_that_has_changed_is_refused_and_nothing_is_written(tmp_path: Path, host: str) -> None:
    sources(tmp_path, "0" * 64)
    with pytest.raises(SluiceError, match="its sha256 is"):
        write_schemas(tmp_path, host=host)
    assert not list(tmp_path.glob("*.json"))
