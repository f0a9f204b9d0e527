"""The verdict of every Prometheus template for every kind of answer, from the templates' own expressions, with a real
Prometheus that reads the real service. engine/docs/reference/analysis.md shows the table, and is compared.
"""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from sluice.core.processes import Child, free_port, start, wait_until
from starter_files import ROOT
from support.kubernetes import argo_metric
from support.rollout.canaries import BROKEN, FORBIDDEN, GOOD, Canary, many

PROMETHEUS = shutil.which("prometheus")
TEMPLATES = sorted(
    path.stem for path in (ROOT / "engine" / "k8s" / "analysis").glob("*.yaml") if "prometheus:" in path.read_text()
)
# Longer than the test, so that everything that was asked is in it.
WINDOW = "30m"
# Pod template hash -> release.
HASHES = {"stable": "r-00000000000a", "good": "r-00000000000b", "bad": "r-00000000000c", "quiet": "r-00000000000d"}

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed (apt-get install prometheus)"),
]


def template(name: str) -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "engine" / "k8s" / "analysis" / f"{name}.yaml").read_text())
    assert isinstance(found, dict)
    return found


def metric_of(name: str, address: str, canary: str, stable: str = "stable", **changes: str) -> dict[str, Any]:
    found = template(name)
    given = {"canary-hash": canary, "stable-hash": stable, "prometheus-url": address}
    windows = {arg: WINDOW for arg in argo_metric.defaults(found) if arg.endswith("window")}
    arguments = (
        argo_metric.defaults(found) | given | windows | {key.replace("_", "-"): one for key, one in changes.items()}
    )
    (metric,) = argo_metric.resolve(found["spec"]["metrics"], arguments)
    assert isinstance(metric, dict)
    return metric


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a Prometheus that has read four releases: stable and good alike, bad bad in every way, quiet hardly."""
    folder = tmp_path_factory.mktemp("prometheus")
    # Not at once: of answers that take nothing, the ratio of the times would be that of the machine's other work.
    releases = {name: Canary(release, folder / name, 0.5 if name == "bad" else 0.1) for name, release in HASHES.items()}
    started: list[Child] = []
    try:
        for release in releases.values():
            release.wait_ready()
            # So that every series is there before Prometheus first looks: what a counter had when it appeared is lost.
            for question in (GOOD, BROKEN, FORBIDDEN):
                release.ask(question)
            for answered_by in HASHES.values():
                release.score(1, answered_by)
                release.score(0, answered_by)
        url = f"http://127.0.0.1:{free_port()}"
        started.append(_prometheus(folder, url, releases))
        assert wait_until(lambda: _scraped(url, len(releases)), seconds=240)
        # One after the other, and all releases at the same time: what else the machine does is no difference of theirs,
        # and a moment in which it does nothing for them makes one of sixty answers late, which no p95 sees.
        with ThreadPoolExecutor(3) as pool:
            asking = [
                pool.submit(many, times, lambda name=name: releases[name].ask(GOOD), at_once=at_once)  # type: ignore[misc]
                for name, times, at_once in (("stable", 60, 1), ("good", 60, 1), ("bad", 40, 3))  # which waits anyway
            ]
            for done in asking:
                done.result()
        for name in ("stable", "good"):
            # Users of the canary: the router sends their scores to any pod, here to stable.
            many(30, lambda name=name: releases["stable"].score(1, HASHES[name]))  # type: ignore[misc]
        many(20, lambda: releases["bad"].ask(BROKEN))
        many(20, lambda: releases["bad"].ask(FORBIDDEN))
        many(30, lambda: releases["stable"].score(0, HASHES["bad"]))
        many(3, lambda: releases["quiet"].ask(GOOD))
        asked = time.time()
        assert wait_until(lambda: _scraped(url, len(releases), after=asked), seconds=240)
        yield url
    finally:
        for child in started:
            child.stop()
        for release in releases.values():
            release.stop()


def _prometheus(folder: Path, url: str, releases: dict[str, Canary]) -> Child:
    scrape = {
        "job_name": "sluice",
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "static_configs": [
            {"targets": [one.url.removeprefix("http://")], "labels": {"rollouts_pod_template_hash": name}}
            for name, one in releases.items()
        ],
    }
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({"scrape_configs": [scrape]}))
    argv = [str(PROMETHEUS), f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    argv += [f"--web.listen-address={url.removeprefix('http://')}", "--log.level=warn"]
    return start("prometheus", argv, state=folder)


def _scraped(url: str, targets: int, after: float = 0.0) -> bool:
    read = f"count(count_over_time(up[30m]) >= 2 and up == 1 and timestamp(up) > {after})"
    try:
        return argo_metric.ask(url, read, 2) == [float(targets)]
    except (OSError, httpx.TransportError):
        return False


def verdicts(address: str, name: str) -> dict[str, tuple[argo_metric.Phase, list[float]]]:
    found = {
        "good": argo_metric.measure(metric_of(name, address, "good")),
        "bad": argo_metric.measure(metric_of(name, address, "bad")),
        "empty": argo_metric.measure(metric_of(name, address, "nobody")),
        "too little traffic": argo_metric.measure(metric_of(name, address, "quiet")),
        "provider down": argo_metric.measure(metric_of(name, f"http://127.0.0.1:{free_port()}", "good")),
    }
    # What the query leaves out by itself: the same condition must hold against it.
    for row, query in (("NaN", "vector(0) / 0"), ("infinite", "vector(1) / 0"), ("minus infinite", "vector(-1) / 0")):
        metric = metric_of(name, address, "good")
        metric["provider"]["prometheus"]["query"] = query
        found[row] = argo_metric.measure(metric)
    return found


EXPECTED: dict[str, argo_metric.Phase] = {
    "good": "Successful",
    "bad": "Failed",
    "NaN": "Failed",
    "empty": "Failed",
    "infinite": "Failed",
    "minus infinite": "Failed",
    "provider down": "Error",
    "too little traffic": "Failed",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_kind_of_answer_has_its_verdict(address: str, name: str) -> None:
    found = verdicts(address, name)
    assert {row: phase for row, (phase, _) in found.items()} == EXPECTED, found
    for row in ("good", "bad"):
        assert len(found[row][1]) == 1, "a figure, and not silence, must have decided"
    for row in ("empty", "too little traffic", "provider down"):
        assert found[row][1] == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_canary_without_new_questions_is_no_number(address: str, name: str) -> None:
    phase, result = argo_metric.measure(metric_of(name, address, "nobody", "nobody", **{f"{name}_samples": "0"}))
    assert phase == "Failed", result


@pytest.mark.parametrize("name", [one for one in TEMPLATES if "stable-hash" in str(template(one))])
def test_without_stable_nothing_passes(address: str, name: str) -> None:
    for stable in ("nobody", "quiet"):
        assert argo_metric.measure(metric_of(name, address, "good", stable)) == ("Failed", [])
