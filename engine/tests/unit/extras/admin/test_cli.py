# ruff: noqa: F811 - a fixture that is imported is named by the tests
import json
from collections.abc import Callable

import pytest

from sluice.core.workspace import Workspace
from unit.cli.test_index_build import EARLIER, release, run, running  # noqa: F401 - fixtures

pytestmark = pytest.mark.real


def test_looking_after_a_store(workspace: Workspace, release: str, run: Callable[..., tuple[int, str]]) -> None:
    stores = (
        "default: one\nstores:\n  one: {kind: embedded}\n  two: {kind: embedded, path: pg2}\ntenants: {acme: two}\n"
    )
    (workspace.config / "stores.yaml").write_text(stores)
    said = run("index", "load", release, "--tenant", "acme")[1]
    collection = said.split(": ")[1].split(",")[0]
    assert run("index", "list") == (0, "")
    line = f"{collection}: 4 chunks; it is of release {release}\n"
    assert run("index", "list", "--store", "two") == (0, line)
    verified = f"{collection}: 4 chunks; recall@10 1.000 of 4 questions\n"
    assert run("index", "verify", "--store", "two") == (0, verified)
    gates = workspace.config / "gates.yaml"
    gates.write_text(gates.read_text().replace("min_samples: 4 ", "min_samples: 5 "))
    status, said = run("index", "verify", "--store", "two")
    assert (status, "index_recall" in said) == (3, True), said
    status, said = run("index", "drop", collection, "--store", "two")
    assert (status, f"it is of release {release}" in said) == (1, True), said
    figures = json.loads(run("index", "stats", "--store", "two")[1])
    assert [each["rows"] for each in figures["collections"]] == [4]
    assert run("index", "prune", "--store", "two", "--keep", release) == (0, "0 dropped\n")
    status, said = run("index", "prune", "--store", "two", "--keep", EARLIER)
    assert (status, "was not loaded into this store" in said) == (1, True)
    status, said = run("index", "verify", collection[:-1], "--store", "two")
    assert (status, f"did you mean '{collection}'" in said) == (1, True), said
