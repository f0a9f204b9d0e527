import pytest

from sluice.core.errors import SluiceError
from sluice.core.params import load_params, set_params
from sluice.core.removed import REMOVED, without_removed
from sluice.core.settings import Settings, load_settings
from sluice.core.workspace import Workspace
from sluice.retrieval.stores import Stores


class Index(Settings):
    size: int


def test_a_removed_section_is_named_with_its_line(workspace: Workspace) -> None:
    workspace.params.write_text("index: {size: 1}\nsweep: {trials: 3}\n")
    with pytest.raises(SluiceError, match=r"params\.yaml:2: sweep: unknown section \(removed: queue .*dvc exp run"):
        load_params(workspace.params, "index", Index)
    with pytest.raises(SluiceError, match=r"no section 'sweep' \(removed: queue .*dvc exp run"):
        set_params(workspace.params, ["sweep.trials=4"], {"index": Index})


def test_a_removed_key_is_named_below_any_name(workspace: Workspace) -> None:
    stores = workspace.config / "stores.yaml"
    stores.write_text("default: a\nstores: {a: {kind: embedded, partition_by: tenant, vectors: {index: binary}}}\n")
    with pytest.raises(SluiceError, match=r"vectors\.index: unknown key \(removed: set `precision: half`") as raised:
        load_settings(stores, Stores)
    assert "stores.a.partition_by: unknown key (removed: give the tenant a store of its own" in str(raised.value)


@pytest.mark.parametrize("name", [name for name in REMOVED if name.endswith(".yaml")])
def test_a_removed_file_is_named_by_every_command(name: str, workspace: Workspace) -> None:
    (workspace.config / name).write_text("{}\n")
    with pytest.raises(SluiceError, match=rf"config/{name}: this file was removed") as raised:
        Workspace.find(workspace.root)
    assert raised.value.remedy == f"delete it, and {REMOVED[name]}"


def test_what_a_release_has_of_removed_settings_is_left_out() -> None:
    stage = [{"check": "toxicity", "action": "block"}, {"check": "length", "action": "block"}]
    assert without_removed("guardrails.yaml", {"input": stage}, ()) == {"input": stage[1:]}
    assert without_removed("guardrails.yaml", {"input": stage}, ("toxicity",)) == {"input": stage}, "a project's own"
    service = {"limits": {"max_queued": 1, "connections": {"max_open": 9}}, "connections": 1}
    assert without_removed("service.yaml", service, ()) == {"limits": {"max_queued": 1}, "connections": 1}
    helped = without_removed("service.yaml", {"retrieval": {"k": 5, "sentences": 3}}, ())
    assert helped == {"retrieval": {"k": 5}, "small_model": {"sentences": 3, "max_doubt": 1}}
