"""A strict API server, the one of KUBECONFIG, takes every rendering; nothing is written to it.

It needs the definitions in engine/schemas/cluster/sources.yaml."""

import json
import subprocess

import pytest

from sluice.cluster.manifests import kubectl
from support.kubernetes.manifests import everything


@pytest.mark.cluster
def test_an_api_server_takes_every_rendering() -> None:
    documents = [document for _, rendered in everything() for document in rendered]
    for document in documents:
        document["metadata"].pop("namespace", None)  # in a dry run no namespace is made
    command = "apply --server-side --force-conflicts --dry-run=server --validate=strict --namespace default -f -"
    text = "\n---\n".join({json.dumps(document) for document in documents})
    done = subprocess.run([kubectl(), *command.split()], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
