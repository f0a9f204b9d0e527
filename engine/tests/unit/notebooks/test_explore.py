import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

from conftest import ROOT, RealModels
from sluice.core.workspace import Workspace
from sluice.release.champion import champion_id
from sluice.release.environment_record import here
from unit.extras.finetune.tiny import write_codes
from unit.release.conftest import release_of, verdict, write_evaluation, write_trained

NOTEBOOK = ROOT / "notebooks" / "explore.ipynb"
# The kernel is another process, which the closed network of the tests does not reach.
CLOSE_NETWORK = """
import socket
refused = []
def _refuse(self, address, _connect=socket.socket.connect):
    if self.family != socket.AF_UNIX:
        refused.append(str(address))
        raise OSError(f"the network is closed: {address}")
    return _connect(self, address)
socket.socket.connect = _refuse
"""


class Session:
    def __init__(self, client: NotebookClient) -> None:
        self._client = client
        self.cells = client.nb.cells

    def run(self, *tags: str) -> None:
        for number, cell in enumerate(self.cells):
            if not tags or set(tags) & set(cell.metadata.get("tags", ())):
                self._client.execute_cell(cell, number)

    def do(self, code: str) -> str:
        cell = nbformat.v4.new_code_cell(code)
        self._client.nb.cells.append(cell)
        self._client.execute_cell(cell, len(self._client.nb.cells) - 1)
        self._client.nb.cells.pop()
        return "".join(output["text"] for output in cell.outputs if output.output_type == "stream")

    def value(self, expression: str) -> Any:
        return json.loads(self.do(f"import json; print(json.dumps({expression}))"))

    def pictures(self) -> int:
        return sum("image/png" in output.get("data", {}) for cell in self.cells for output in cell.get("outputs", ()))


@pytest.fixture
def checkout(workspace: Workspace, models: RealModels) -> Workspace:
    write_codes(workspace, models)
    (workspace.root / "notebooks").mkdir()
    shutil.copy(NOTEBOOK, workspace.root / "notebooks")
    return workspace


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the kernel listens and has its files, apart from the user's. A short path: a socket's has 107 bytes."""
    with TemporaryDirectory(prefix="nb-") as folder:
        for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
            monkeypatch.setenv(name, folder)
        yield folder


@pytest.fixture
def session(checkout: Workspace, sockets: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{ROOT / 'engine/src'}:{ROOT / 'engine/tests'}")
    book = nbformat.read(checkout.root / "notebooks" / NOTEBOOK.name, as_version=4)
    client = NotebookClient(
        book,
        timeout=600,
        shutdown_kernel="immediate",
        config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}),
        resources={"metadata": {"path": str(checkout.root / "notebooks")}},
    )
    with client.setup_kernel():
        yield Session(client)


def release(checkout: Workspace, f1: float, **changed: Any) -> str:
    evaluation = write_evaluation(checkout.build / "evaluation", f1)
    (checkout.build / "adapter" / "adapter.gguf").write_bytes(f"GGUF {f1}".encode())
    return release_of(checkout, evaluation=evaluation, **changed)[0].id


def recorded_runs(checkout: Workspace) -> list[tuple[str, int]]:
    query = """select r.status, count(m.step) from runs r join experiments e using (experiment_id)
        left join metrics m on m.run_uuid = r.run_uuid and m.key = 'loss'
        where e.name = 'training' group by r.run_uuid order by r.start_time"""
    with closing(sqlite3.connect(checkout.state / "mlflow.db")) as store:
        return store.execute(query).fetchall()


@pytest.mark.real
def test_it_trains_compares_and_promotes_only_when_told(checkout: Workspace, session: Session, tmp_path: Path) -> None:
    write_trained(checkout.build)
    live, better = release(checkout, 0.4), release(checkout, 0.5)
    refused = release(checkout, 0.1, verdicts=[verdict(passed=False, reason="gate f1_holds: too low")])
    here(checkout).append("promoted", live)
    settings = {"BASE": str(tmp_path / "base"), "CHANGES": {"steps": 6, "threads": 1}}
    (parameters,) = (cell for cell in session.cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source += "".join(f"\n{name} = {value!r}" for name, value in settings.items())

    session.do(CLOSE_NETWORK)
    # The kernel imports torch anyway, and this process need not.
    session.do(
        "from unit.extras.finetune.tiny import write_base; "
        f"write_base(__import__('pathlib').Path({settings['BASE']!r}))"
    )
    session.run()
    assert session.value("[len(rows), len(documents), list(rows['side'].unique())]") == [8, 3, ["train", "eval"]]
    assert recorded_runs(checkout) == [("FINISHED", 6)]
    assert session.value("len(trained['loss'])") == 6
    assert (checkout.state / "explore" / "adapter" / "peft").is_dir()
    assert not (checkout.build / "adapter" / "peft").exists()
    assert session.pictures() == 4
    assert session.value("releases['f1'].to_dict()") == {live: 0.4, better: 0.5, refused: 0.1}
    assert session.value("releases.index[releases['champion']].tolist()") == [live]
    assert session.value("releases['refused by'].to_dict()") == {live: "", better: "", refused: "f1_holds"}
    assert champion_id(here(checkout)) == live, "running all cells must promote nothing"

    session.do("CHANGES = {'steps': 8, 'rank': 2, 'threads': 1}")
    session.run("train", "compare")
    assert recorded_runs(checkout) == [("FINISHED", 6), ("FINISHED", 8)]
    assert session.value("runs[['rank', 'steps']].values.tolist()") == [["2", "8"], ["4", "6"]]
    assert session.value("bool(runs['loss'].between(0, 10).all())")

    session.do(f"PROMOTE = {better!r}")
    session.run("promote")
    assert champion_id(here(checkout)) == better
    session.do("ROLL_BACK = True")
    session.run("roll-back")
    assert champion_id(here(checkout)) == live
    assert [event.event for event in here(checkout).history()][-2:] == ["rolling-back", "rolled-back"]
    session.do(f"PROMOTE = {refused!r}")
    with pytest.raises(Exception, match=f"release {refused} was refused by f1_holds"):
        session.run("promote")
    assert champion_id(here(checkout)) == live
    assert session.value("refused") == []
