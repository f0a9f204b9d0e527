"""A strict API server, that of KUBECONFIG with the kinds in engine/schemas/cluster/sources.yaml, takes everything."""

import json
import subprocess

import pytest

from sluice.cluster.manifests import kubectl
from support.kubernetes.manifests import distinct


@pytest.mark.cluster
def test_an_api_server_takes_every_rendering() -> None:
    documents = distinct()
    for document in documents:
        document["metadata"].pop("namespace", None)  # in a dry run no namespace is made
    command = "apply --server-side --force-conflicts --dry-run=server --validate=strict --namespace default -f -"
    text = "\n---\n".join(map(json.dumps, documents))
    done = subprocess.run([kubectl(), *command.split()], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
