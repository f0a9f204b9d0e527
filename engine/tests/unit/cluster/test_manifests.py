from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluice.cli import app
from sluice.cluster.kinds import write_schemas
from sluice.cluster.manifests import PLACEHOLDER, Manifest, parse, place, render, unpinned, validate
from sluice.core.errors import SluiceError, ValidationErrors
from support.kubernetes.manifests import SCHEMAS, overlay_text

IMAGE = "registry.example/sluice@sha256:" + "1" * 64


def rollout(image: str = IMAGE) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "sluice", "image": image}]}}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "sluice"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "strategy": {"canary": {}}, "template": template},
    }


@pytest.mark.parametrize("image", ["sluice", "sluice:latest", "r/sluice@md5:" + "1" * 64])
def test_an_image_without_a_digest_is_named(image: str) -> None:
    database = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": "postgres"}}
    chosen = [{**database, "spec": {}}, {**database, "spec": {"imageName": image}}]  # the first by the operator
    assert unpinned([rollout(image), *chosen]) == [f"Rollout/sluice: {image}", f"Cluster/postgres: {image}"]


def test_a_placeholder_is_taken_only_where_it_may_stand() -> None:
    held = f"sluice@{PLACEHOLDER}"
    assert unpinned([rollout(held)]) == []
    assert unpinned([rollout(held)], placeholders=False) == [f"Rollout/sluice: {held}"]
    assert unpinned([rollout()], placeholders=False) == []


UNKNOWN = {"apiVersion": "apps/v1", "kind": "Deploiment", "metadata": {"name": "x"}, "spec": {}}


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([], "nothing was rendered"),
        ([rollout()], "nor a schema has kind 'Rollout' in 'argoproj.io/v1alpha1'"),
        ([rollout(), rollout()], "twice"),
        ([UNKNOWN], "has kind 'Deploiment' in 'apps/v1'"),
    ],
)
def test_what_is_not_known_twice_or_nothing_is_refused(tmp_path: Path, documents: list[Any], words: str) -> None:
    with pytest.raises(SluiceError, match=words):
        validate(documents, tmp_path)


def test_every_fault_of_a_document_is_told(tmp_path: Path) -> None:
    broken = parse("apiVersion: v1\nkind: Service\nmetadata: {nam: x}\nspec: {selektor: {}, ports: [{prt: 1}]}")
    with pytest.raises(ValidationErrors) as caught:
        validate(broken, tmp_path)
    assert all(word in str(caught.value) for word in ("nam", "selektor", "prt"))


def test_what_kubectl_refuses_is_an_error_with_its_words(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [missing.yaml]\n")
    with pytest.raises(SluiceError, match=r"missing\.yaml"):
        render(tmp_path)


TYPOS = [
    ("production", "      - setWeight: 10", "      - setWieght: 10", "setWieght"),
    ("production", "readinessProbe:", "readynessProbe:", "readynessProbe"),
    ("production", "refreshInterval: 1m", "refreshIntervall: 1m", "refreshIntervall"),
    ("production", "  podSelector: {}", "  podSelectors: {}", "podSelectors"),
    ("staging", "kind: Rollout", "kind: Rolout", "Rolout"),
    ("staging", "  labels:\n    pod-security", "  lables:\n    pod-security", "lables"),
]


@pytest.mark.parametrize(("where", "right", "wrong", "named"), TYPOS, ids=[one[3] for one in TYPOS])
def test_a_typo_is_refused_by_name(where: str, right: str, wrong: str, named: str) -> None:
    text = overlay_text(where)
    assert right in text, "the line that this typo is made in has changed"
    with pytest.raises((ValidationErrors, SluiceError), match=named):
        validate(parse(text.replace(right, wrong, 1)), SCHEMAS)


SUPPORT = Path(__file__).parents[2] / "support" / "kubernetes"
KINDS, CASES = (parse((SUPPORT / name).read_text()) for name in ("kinds.yaml", "own_kind/cases.yaml"))
DEFINITION = (SUPPORT / "own_kind" / "definition.yaml").read_text()


@pytest.mark.parametrize("document", KINDS, ids=place)
def test_a_kind_of_another_project_is_known_and_a_typo_in_it_refused(document: Manifest) -> None:
    validate(KINDS, SCHEMAS)
    key, value = next(iter(document["spec"].items()))
    with pytest.raises(ValidationErrors, match=f"{place(document)}: .*{key}X"):
        validate([{**document, "spec": {f"{key}X": value}}], SCHEMAS)


def test_a_project_brings_a_kind_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    run, check = CliRunner().invoke, ["manifests", "check", str(SUPPORT / "own_kind")]
    command = "'batch.example.com/v1'; `kubectl get crd NAME -o yaml | sluice manifests schema -` writes"
    assert command in str(run(app, check).exception)
    assert run(app, ["manifests", "schema", "-"], input=DEFINITION).exit_code == 0
    assert "1 manifests, no fault" in run(app, check).output


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["fault"])
def test_unknown_keys_are_refused_as_by_a_strict_api_server(tmp_path: Path, case: Manifest) -> None:
    write_schemas(tmp_path, DEFINITION)
    with pytest.raises(ValidationErrors, match=case["fault"]) if case["fault"] else nullcontext():
        validate([case["document"]], tmp_path)


NO_DEFINITIONS = (
    "",
    "words",
    "a: [",
    DEFINITION.replace("served: true", "served: no"),
    DEFINITION.replace("Custom", ""),
)


@pytest.mark.parametrize("text", NO_DEFINITIONS, ids=range(5))
def test_what_is_no_definition_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SluiceError, match="not a CustomResourceDefinition"):
        write_schemas(tmp_path, text)


def test_a_schema_is_written_into_its_folder_and_named_when_it_is_broken(tmp_path: Path) -> None:
    path = write_schemas(tmp_path / "a", DEFINITION.replace("group: ", "group: ../"))[0]
    path.write_text("<<<<")
    with pytest.raises(SluiceError, match=f"a/{path.name}"):
        validate([CASES[0]["document"]], tmp_path / "a")
