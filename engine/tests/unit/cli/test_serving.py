from collections.abc import Callable
from typing import Any

import pytest

from sluice.core.workspace import Workspace

STORES = """\
default: local
stores: {local: {kind: embedded}, eu: {kind: postgres}, acme: {kind: postgres}}
environments: {production: eu}
tenants: {acme: acme}
"""


@pytest.mark.parametrize(
    ("words", "status", "store"),
    [((), 0, "local"), (("--env", "production"), 0, "eu"), (("--env", "prodution"), 1, None)],
)
def test_the_store_of_the_environment(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    sluice: Callable[..., tuple[int, str, str]],
    words: tuple[str, ...],
    status: int,
    store: str | None,
) -> None:
    (workspace.config / "stores.yaml").write_text(STORES)
    asked: dict[str, Any] = {}
    monkeypatch.setattr("sluice.serving.server.serve", lambda *_, **named: asked.update(named))
    monkeypatch.setattr("sluice.release.release_bundle.open_bundle", lambda *_: None)
    monkeypatch.chdir(workspace.root)
    ended, _, err = sluice("serve", "--release", "release", *words)
    assert ended == status
    if store is None:
        assert "no environment 'prodution' (did you mean 'production'?)" in err
    else:
        assert asked["stores"].default == store
        assert asked["stores"].tenants == {"acme": "acme"}
