"""Which pods the component `attested-images` admits: its CEL, evaluated by a CEL implementation that is not ours.

Kyverno is played, from its source at v1.19.0: `images` holds the images by kind of container
(pkg/cel/compiler/images.go:15-25), those that match matchImageReferences (pkg/image/verification/evaluator/policy.go,
Evaluate); with verifyDigest a matching image without a digest is refused (checkDigests); then each validation must be
true; `verifyAttestationSignatures` gives how many of the attestors have signed the attestation
(pkg/cel/libs/imageverify/impl.go). Not verified here: signatures, which Kyverno checks by cosign and the registry.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cel
import pytest
import yaml

COMPONENT = Path(__file__).resolve().parents[3] / "k8s" / "components" / "attested-images"
SPEC = yaml.safe_load((COMPONENT / "namespacedimagevalidatingpolicy.yaml").read_text())["spec"]
KINDS = ("containers", "initContainers", "ephemeralContainers")
DIGEST = "@sha256:" + "a" * 64
OTHER = "@sha256:" + "b" * 64
OWN, LOAD, DATABASE = "ghcr.io/example/sluice", "ghcr.io/example/sluice-load", "docker.io/pgvector/pgvector"
ATTESTED = {OWN + DIGEST, LOAD + DIGEST}
WORKFLOW = "https://github.com/example/sluice/.github/workflows/release.yml@refs/heads/main"


def admitted(pod: Mapping[str, Sequence[str]], others: str = "[]") -> str:
    images = {kind: list(pod.get(kind, ())) for kind in KINDS}
    assert SPEC["matchImageReferences"] == [{"glob": "*"}]  # so every image is looked at
    if SPEC["validationConfigurations"]["verifyDigest"] and not all(
        "@" in one for some in images.values() for one in some
    ):
        return "an image does not have a digest"

    def verify(image: str, attestation: str, attestors: Sequence[Mapping[str, Any]]) -> int:
        assert attestation == "https://slsa.dev/provenance/v1"
        (identity,) = attestors[0]["cosign"]["keyless"]["identities"]
        assert identity == {"issuer": "https://token.actions.githubusercontent.com", "subject": WORKFLOW}
        return int(image in ATTESTED)

    variables = {one["name"]: cel.evaluate(one["expression"]) for one in SPEC["variables"]}
    context = cel.Context(
        variables={
            "images": images,
            "variables": variables | {"others": cel.evaluate(others)},
            "attestations": {one["name"]: one["intoto"]["type"] for one in SPEC["attestations"]},
            "attestors": {one["name"]: one for one in SPEC["attestors"]},
        },
        functions={"verifyAttestationSignatures": verify},
    )
    refused = [one["message"] for one in SPEC["validations"] if cel.evaluate(one["expression"], context) is not True]
    return "; ".join(refused)


@pytest.mark.parametrize(
    "pod", [{"containers": [OWN + DIGEST]}, {"containers": [LOAD + DIGEST], "initContainers": [LOAD + DIGEST]}]
)
def test_attested_images_by_digest_are_admitted(pod: dict[str, list[str]]) -> None:
    assert admitted(pod) == ""


@pytest.mark.parametrize(
    ("pod", "why"),
    [
        ({"containers": [OWN + ":latest"]}, "does not have a digest"),
        ({"containers": [OWN + OTHER]}, "no provenance"),
        ({"containers": [OWN + DIGEST], "initContainers": [OWN + OTHER]}, "no provenance"),
        ({"containers": [OWN + DIGEST], "ephemeralContainers": ["docker.io/library/busybox" + DIGEST]}, "neither"),
        ({"containers": ["ghcr.io/someone/sluice" + DIGEST]}, "neither"),
        ({"containers": ["evil.example/" + OWN + DIGEST]}, "neither"),
        ({"containers": [DATABASE + DIGEST]}, "neither"),
    ],
)
def test_everything_else_is_refused(pod: dict[str, list[str]], why: str) -> None:
    assert why in admitted(pod)


def test_an_overlay_names_the_images_of_others() -> None:
    assert admitted({"containers": [DATABASE + DIGEST]}, others=f"['{DATABASE}']") == ""
    assert "does not have a digest" in admitted({"containers": [DATABASE + ":pg17"]}, others=f"['{DATABASE}']")
    assert "neither" in admitted({"containers": [DATABASE + "-fork" + DIGEST]}, others=f"['{DATABASE}']")


def test_silence_never_admits() -> None:
    assert (SPEC["failurePolicy"], SPEC["validationActions"]) == ("Fail", ["Deny"])
    (rule,) = SPEC["matchConstraints"]["resourceRules"]
    assert {"CREATE", "UPDATE"} <= set(rule["operations"])
    assert {"pods", "pods/ephemeralcontainers"} <= set(rule["resources"])
