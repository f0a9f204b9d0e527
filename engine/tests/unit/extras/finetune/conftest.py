import shutil
from pathlib import Path

import pytest

from unit.extras.finetune.process import Training
from unit.extras.finetune.tiny import write_base


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("peft")
    return write_base(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture
def place(tmp_path: Path, tiny_base: Path) -> Path:
    shutil.copytree(tiny_base, tmp_path / "base")
    return tmp_path


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    shutil.copytree(tiny_base, folder / "base")
    ended = Training(folder).end()
    assert ended.code == 0, ended.output
    return folder
