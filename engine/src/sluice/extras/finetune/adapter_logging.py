"""Logs an adapter as an MLflow model, which `mlflow.pyfunc.load_model` can ask on another machine.

The model holds the adapter, the pin of its base model, adapter_model.py with the modules of the engine that it imports,
its libraries with their versions, a signature and an example. Nothing is executed: a base model takes seconds to load,
and is not needed to keep an adapter.
"""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import version
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

import sluice
from sluice.core.atomic_files import write_json
from sluice.llm.model_files import ModelSpec

_SCRIPT = Path(__file__).with_name("adapter_model.py")
_LIBRARIES = ("mlflow", "xllamacpp", "gguf", "numpy", "pydantic", "pyyaml", "psutil", "filelock")
# What the schemes of model sources import. `wheel:` runs pip, which an environment made by uv lacks.
_OF_SCHEME = {"wheel": "pip", "hf": "huggingface-hub", "s3": "boto3"}
_EXAMPLE = {"messages": [{"role": "user", "content": "What is a canary release?"}]}


def log_adapter(client: Any, experiment: str, adapter: Path, base: ModelSpec, sha256: str, run_id: str) -> str:
    """Logs an adapter, with the training.json beside it: both are in the folder `artifacts` of the model."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model
    from mlflow.pyfunc import save_model

    source = {"source_run_id": run_id or None, "tags": {"sha256": sha256, "base_sha256": base.sha256}}
    logged = client.create_logged_model(experiment, name="adapter", model_type="adapter", **source)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_json(folder / "base.json", base.model_dump(mode="json"))
        files = {"adapter": adapter, "base": folder / "base.json", "training": adapter.with_name("training.json")}
        save_model(
            str(folder / "model"),
            python_model=str(_SCRIPT),
            artifacts={name: str(path) for name, path in files.items() if path.is_file()},
            code_paths=[str(_copy_code(folder))],
            pip_requirements=_requirements(base),
            signature=_signature(),
            input_example=_EXAMPLE,
            mlflow_model=Model(logged.artifact_location, run_id or None, model_id=logged.model_id),
        )
        client.log_model_artifacts(logged.model_id, str(folder / "model"))
    client.finalize_logged_model(logged.model_id, "READY")
    if run_id:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
    return f"models:/{logged.model_id}"


def _copy_code(folder: Path) -> Path:
    """The modules that the script can reach, imports inside functions too, as a package of its own."""
    source = Path(sluice.__file__).parents[1]
    finder = ModuleFinder(path=[str(source)])
    finder.run_script(str(_SCRIPT))
    for name, module in finder.modules.items():
        file: str | None = getattr(module, "__file__", None)
        if file and name != "__main__":
            target = folder / Path(file).relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    return folder / sluice.__name__


def _requirements(base: ModelSpec) -> list[str]:
    scheme = _OF_SCHEME.get(base.source.partition(":")[0])
    return [f"{name}=={version(name)}" for name in (*_LIBRARIES, *([scheme] if scheme else []))]


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    message = Object([Property("role", DataType.string), Property("content", DataType.string)])
    return ModelSignature(
        Schema([ColSpec(Array(message), "messages")]),
        Schema([ColSpec(DataType.string)]),
        ParamSchema([ParamSpec("max_tokens", DataType.long, 48), ParamSpec("temperature", DataType.double, 0.0)]),
    )
