"""Extras are removed by the code of the checkout that they are in, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.extras import FOLDER
from sluice.template.extras import remove


@pytest.mark.timeout(240)
@pytest.mark.parametrize("there", ["", "engine/src", FOLDER])
def test_a_checkout_without_the_package_is_refused_and_no_process_starts_another(tmp_path: Path, there: str) -> None:
    """Python takes the package that is installed in its place, which is the one that has just asked."""
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    with pytest.raises(SluiceError, match=r"engine/src/sluice/__init__\.py: no such file") as caught:
        remove(tmp_path, ["sweep"])
    assert caught.value.remedy == "restore it with git"
    assert not (tmp_path / "engine/src/sluice/__init__.py").exists()
