"""`sluice` as the workflows' tests have it: the real command line, but for work that takes a model, or minutes."""

import os
import sys
from pathlib import Path
from typing import Any

# Commands that make, compare, rehearse, promote or serve releases; the others need not wait for the imports.
WORKING = ("eval", "release", "rehearse", "rollback", "serve")


def replace_models() -> None:
    import parts

    from sluice.llm import llama_server
    from sluice.retrieval import embedder

    embedder.Embedder = parts.embedder  # type: ignore[assignment, misc]
    llama_server.LocalServer = parts.local_server  # type: ignore[assignment, misc]


def replace_parts() -> None:
    import parts

    from sluice.core.extras import hooks
    from sluice.jobs import dvc_pipeline as pipeline
    from sluice.rehearsal import rehearse as rehearsal
    from sluice.release import mlflow_registry

    for name in ("pull", "data_edited", "reproduce", "evaluate"):
        setattr(pipeline, name, lazily(name))
    pipeline.Evaluator.ask = lazily("ask")  # type: ignore[method-assign]
    for module, name in (
        (rehearsal, "rehearse"),
        (mlflow_registry, "record_release"),
        (mlflow_registry, "promote_aliases"),
    ):
        setattr(module, name, getattr(parts, name))
    for take in hooks("take_adapter").values():  # of an extra, which may be left out
        setattr(sys.modules[take.__module__], take.__name__, parts.take_adapter)


def replace_registry(address: str) -> None:
    from sluice.core.extras import hooks

    for opener in hooks("artifact_store").values():  # of an extra, which may be left out
        sys.modules[opener.__module__].GITHUB = address  # type: ignore[attr-defined]


def leave_out(name: str) -> None:
    """As in a project that has left an extra out."""
    from sluice.core import extras as there

    kept = {one: extra for one, extra in there.extras().items() if one != name}
    there.extras = lambda: kept  # type: ignore[assignment]


def lazily(name: str) -> Any:
    def call(*words: Any, **options: Any) -> Any:
        import pipeline as played

        return getattr(played, name)(*words, **options)

    call.__name__ = name
    return call


if __name__ == "__main__":
    if sys.argv[1:] == ["endpoint", "deploy"]:  # of AWS: unit/extras/sagemaker/test_endpoint.py has what it does
        print("played: endpoint deploy")
        sys.exit(0)
    if "PLAYED_WITHOUT" in os.environ:
        leave_out(os.environ["PLAYED_WITHOUT"])
    if sys.argv[1:2] and sys.argv[1] in WORKING:
        sys.path.append(str(Path(__file__).resolve().parents[2]))  # what the tests share
        replace_models()
        replace_parts()
        if "PLAYED_REGISTRY" in os.environ:
            replace_registry(os.environ["PLAYED_REGISTRY"])
    from sluice.cli import main

    sys.exit(main())
