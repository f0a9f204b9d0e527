"""Figures of a page of metrics; quantiles as Prometheus has them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from sluice.extras.status.service_status import figures_of, quantile
from sluice.serving.middleware import CHAT
from sluice.serving.service_metrics import ServiceMetrics

PROMTOOL = shutil.which("promtool")


def test_the_figures_are_those_of_the_page_of_a_service() -> None:
    metrics = ServiceMetrics("r-0123456789ab", lambda: 3)
    for status, times in ((200, 7), (503, 2), (422, 5)):
        for _ in range(times):
            metrics.request(CHAT, status, 0.4)
    metrics.request("/healthz", 500, 25)
    metrics.queue(lambda: 4)
    metrics.shed("queue_full")
    found = figures_of(metrics.page().decode())
    assert (found.questions, found.errors) == (9, 2), "neither what callers got wrong nor other routes"
    assert (found.in_flight, found.waiting, found.refused, found.tokens, found.dollars) == (3, 4, 1, 0, 0)
    assert found.open_providers == ()
    assert found.first_token_p95 is None, "nothing was observed"
    assert found.answer_p95 is not None
    assert 0.35 < found.answer_p95 <= 0.5, "25 seconds were another route's"


def test_a_page_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="could not convert"):
        figures_of('sluice_in_flight{release="r" 1')


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt-get install prometheus)")
@pytest.mark.parametrize(
    "counts",
    [(0, 10, 95, 100, 100), (3, 3, 3, 3, 3), (0, 0, 0, 0, 7), (1, 2, 3, 5, 8), (0, 0, 40, 40, 41)],
    ids=str,
)
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_quantile_is_that_of_prometheus(tmp_path: Path, counts: tuple[int, ...], share: float) -> None:
    bounds = ("0.1", "0.5", "1", "5", "+Inf")
    ours = quantile(share, [({"le": bound}, count) for bound, count in zip(bounds, counts, strict=True)])
    assert ours is not None
    series = [
        {"series": f'm_bucket{{le="{bound}"}}', "values": f"{count}x5"}
        for bound, count in zip(bounds, counts, strict=True)
    ]
    wanted = {
        "expr": f"abs(histogram_quantile({share}, m_bucket) - {ours!r}) < bool 1e-9",
        "eval_time": "2m",
        "exp_samples": [{"labels": "{}", "value": 1}],
    }
    tests = {"rule_files": [], "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": [wanted]}]}
    (tmp_path / "tests.yaml").write_text(json.dumps(tests))
    argv = [str(PROMTOOL), "test", "rules", "tests.yaml"]
    ended = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
