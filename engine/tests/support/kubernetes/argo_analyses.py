"""The analyses of the steps of a canary, as Argo Rollouts 1.9.1 begins, judges and forgets them."""

from __future__ import annotations

from typing import Any

from support.kubernetes import argo_replicas as replicas
from support.kubernetes.argo_context import MANAGER, reference
from support.kubernetes.argo_pods import Pods
from support.kubernetes.argo_replicas import HASH, REVISION, deadline, hash_of

Object = dict[str, Any]


class Analyses(Pods):
    """One AnalysisRun for each step that has an analysis."""

    def _analyse(self) -> None:
        """rollout/analysis.go:73-147."""
        status = self.rollout["status"]
        run = self._current_run()
        skipped = status.get("promoteFull") or deadline(self.new) or not status.get("stableRS")
        if self._aborted() or skipped or self._within_window():
            self._note_run(run)
            self._cancel(*self.runs)
            return
        run = self._reconcile_run(run)
        self._note_run(run)
        others = [
            one for one in self._other_runs() if run is None or one["metadata"]["name"] != run["metadata"]["name"]
        ]
        self._cancel(*others)
        self._forget_runs(others)

    def _reconcile_run(self, run: Object | None) -> Object | None:
        """rollout/analysis.go:404-443."""
        status = self.rollout["status"]
        step, index = replicas.current_step(self.rollout)
        if not status.get("pauseConditions") and not status.get("abort"):
            of_another_step = run is not None and run["metadata"]["labels"]["step-index"] != str(index)
            if step is None or "analysis" not in step or of_another_step:
                self._cancel(run)
                return None
            if self._needs_run(run):
                return self._create_run(
                    step["analysis"], str(index), {"rollout-type": "Step", "step-index": str(index)}
                )
            assert run is not None
            self._judge(run, "Step-based")
        return run

    def _needs_run(self, run: Object | None) -> bool:
        """rollout/analysis.go:170-192."""
        if run is None:
            return True
        if self.rollout["status"].get("controllerPause") and not self._pause_of("CanaryPauseStep"):
            return bool(run["status"].get("phase") == "Inconclusive")
        return self.rollout["status"].get("abortedAt") is not None

    def _judge(self, run: Object | None, whose: str) -> None:
        """rollout/analysis.go:431-440, of blue-green 149-168."""
        assert run is not None
        phase, message = run["status"].get("phase", ""), run["status"].get("message", "")
        if phase == "Inconclusive":
            self.pauses.append("InconclusiveAnalysisRun")
        elif phase in ("Failed", "Error"):
            self.aborts = True
            self.abort_message = f"{whose} analysis phase error/failed" + (f": {message}" if message else "")

    def _create_run(self, analysis: Object, infix: str, labels: dict[str, str]) -> Object:
        """rollout/analysis.go:386-402, 466-504; a taken name gets a number (utils/analysis/helpers.go:257-290)."""
        metadata = self.rollout["metadata"]
        number = metadata["annotations"][REVISION]
        base = f"{metadata['name']}-{hash_of(self.new)}-{number}-{infix}"
        taken = {one["metadata"]["name"] for one in self.store.all("AnalysisRun")}
        name = next(one for one in (base, *(f"{base}.{count}" for count in range(1, 100))) if one not in taken)
        labels = {HASH: hash_of(self.new), **labels}
        templates = self._templates(analysis["templates"])
        given = {one["name"]: self._argument(one) for one in analysis.get("args") or ()}
        args = {arg["name"]: arg for one in templates for arg in one["spec"].get("args") or ()}
        return self.store.write(
            {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "AnalysisRun",
                "metadata": {
                    "name": name,
                    "namespace": metadata["namespace"],
                    "labels": labels | self.rollout["spec"]["selector"]["matchLabels"],
                    "annotations": {REVISION: number},
                    "creationTimestamp": self.now,
                    "ownerReferences": [reference(self.rollout)],
                },
                "spec": {
                    "args": [{**arg, "value": given[name]} if name in given else arg for name, arg in args.items()],
                    "metrics": [metric for one in templates for metric in one["spec"]["metrics"]],
                },
                "status": {},
            },
            MANAGER,
        )

    def _templates(self, references: list[Object]) -> list[Object]:
        """With those that they name (rollout/analysis.go, getAnalysisTemplatesFromRefs)."""
        found = [one for ref in references if (one := self.store.find("AnalysisTemplate", ref["templateName"]))]
        return found + [inner for one in found for inner in self._templates(one["spec"].get("templates") or [])]

    def _argument(self, argument: Object) -> str:
        """utils/analysis/factory.go:18-54."""
        wanted = (argument.get("valueFrom") or {}).get("podTemplateHashValue")
        if wanted is None:
            return str(argument["value"])
        return hash_of(self.new if wanted == "Latest" else self.stable)

    def _note_run(self, run: Object | None) -> None:
        """rollout/context.go:91-110."""
        if run is not None:
            status, message = run["status"].get("phase", ""), run["status"].get("message", "")
            self.run_status = {"name": run["metadata"]["name"], "status": status}
            self.run_status |= {"message": message} if message else {}

    def _cancel(self, *runs: Object | None) -> None:
        """rollout/analysis.go:445-463."""
        for run in runs:
            if run is not None and not _over(run) and not run["spec"].get("terminate"):
                self.store.write({**run, "spec": {**run["spec"], "terminate": True}}, MANAGER)

    def _forget_runs(self, others: list[Object]) -> None:
        """utils/analysis/filter.go:127-180: without a ReplicaSet, and all but five that passed and five not."""
        alive = {hash_of(one) for one in self.all}
        kept = {True: 0, False: 0}
        for run in sorted(others, key=lambda one: one["metadata"]["creationTimestamp"], reverse=True):
            passed = run["status"].get("phase") == "Successful"
            if run["metadata"]["labels"].get(HASH) not in alive or (_over(run) and kept[passed] >= 5):
                self.store.delete("AnalysisRun", run["metadata"]["name"])
            elif _over(run):
                kept[passed] += 1


def _over(run: Object) -> bool:
    return run["status"].get("phase") in ("Successful", "Failed", "Error", "Inconclusive")
