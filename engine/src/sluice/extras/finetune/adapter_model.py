"""The code of an adapter in MLflow. It runs on any machine that loads the model, beside copies of the modules it
imports (training_record.py); the base model is fetched by its pin, once into the user's cache."""

from pathlib import Path
from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel
from pandas import DataFrame

from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.llm.llama_server import LocalServer
from sluice.llm.model_files import ModelSpec, ensure


class AdapterModel(PythonModel):  # type: ignore[misc]  # MLflow is not typed
    """Answers chats by llama.cpp, as the service does."""

    def load_context(self, context: Any) -> None:
        """Load the GGUF file `adapter` onto the model that `base` pins, an entry of config/models.yaml as JSON."""
        spec = ModelSpec.model_validate(read_json(Path(context.artifacts["base"])))
        base = ensure(spec, Workspace(Path()).cache)
        self._server = LocalServer(base, adapter=Path(context.artifacts["adapter"]))

    def predict(self, context: Any, model_input: DataFrame, params: dict[str, Any] | None = None) -> list[str]:  # noqa: ARG002
        return [self._answer([dict(message) for message in chat], params or {}) for chat in model_input["messages"]]

    def _answer(self, messages: list[dict[str, str]], params: dict[str, Any]) -> str:
        reply = self._server.answer({"messages": messages, **params})
        if "choices" not in reply:
            raise SluiceError(f"llama.cpp does not respond: {reply}", remedy="look at the messages that were sent")
        return str(reply["choices"][0]["message"]["content"])


set_model(AdapterModel())
