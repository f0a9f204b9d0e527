from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.upgrade import versions
from support.git import git
from support.git_server import git_server
from unit.template.conftest import commit, pyproject

TOKEN = "reader"  # pragma: allowlist secret


@pytest.mark.usefixtures("loopback")
def test_its_versions_are_listed_and_fetched_with_the_token_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    made.mkdir()
    git(made, "init", "--quiet", "--initial-branch", "main")
    for version in ("0.2.0", "0.10.0"):
        commit(made, version, {"engine/pyproject.toml": pyproject(version)})
        git(made, "tag", f"v{version}")
    git(tmp_path, "clone", "--quiet", "--bare", str(made), str(tmp_path / "served" / "makers" / "template.git"))
    with git_server(tmp_path / "served") as server:
        server.rights[TOKEN] = "read"  # pragma: allowlist secret
        monkeypatch.setattr(versions, "SERVER", server.url)
        monkeypatch.setenv("GITHUB_SERVER_URL", server.url)
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        monkeypatch.setenv("GIT_SSL_CAINFO", str(server.certificate))
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        address = versions.address_of("makers/template")
        assert versions.released(tmp_path, address) == ["0.2.0", "0.10.0"]
        files = versions.fetch_version(address, "0.2.0", tmp_path)
        assert (files / "engine/pyproject.toml").read_text() == pyproject("0.2.0")
        monkeypatch.setenv("GITHUB_TOKEN", "of-another-repository")
        with pytest.raises(SluiceError) as caught:
            versions.released(tmp_path, address)
        assert "UPGRADE_TOKEN that may read it" in caught.value.remedy
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        monkeypatch.delenv("GITHUB_SERVER_URL")  # the token is for github.com then
        with pytest.raises(SluiceError, match="could not read Username"):
            versions.released(tmp_path, address)
