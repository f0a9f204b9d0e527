"""Generated schemas and calls against the local model: does every answer parse and validate?

    .venv/bin/python engine/benchmarks/forms.py [COUNT] [SEED]

    .venv/bin/python engine/benchmarks/forms.py COUNT SEED --model PATH     # another than the one of random weights

Each schema is of OpenAI's strict subset. Half are asked as a `response_format`, half as the tool that has to be called.
The model is as wild as can be: the tokens of the chat model over random weights, drawn at a temperature of 2, so that
only the grammar holds it. What has no end within few tokens is asked for once more, briefly, as the service does. Ends
with 1 where one answer is not valid.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "engine" / "tests"))

from sluice.core.workspace import Workspace
from sluice.llm.llama_server import LocalServer
from sluice.llm.model_files import ensure, load_models
from support.forms import fault, random_model, schema_of


def main(count: int, seed: int, model: Path | None = None) -> int:
    """Prints what was found; 1 where an answer is not valid."""
    workspace = Workspace.find()
    chat = ensure(load_models(workspace.config / "models.yaml").chat, workspace.cache)
    model = model or random_model(chat, Path(tempfile.mkdtemp()) / "random.gguf")
    seen: Counter[str] = Counter()
    began = time.perf_counter()
    with LocalServer(Path(model), threads=1, context=2048, slots=1) as server:
        for number in range(count):
            schema = schema_of(random.Random(f"{seed}-{number}"))
            wrong = fault(server, schema, call=bool(number % 2), seed=number, seen=seen)
            seen["wrong" if wrong else "valid"] += 1
            if wrong:
                print(f"{number}: {json.dumps(schema, ensure_ascii=False)}\n  {wrong}", flush=True)
            if number % 100 == 99:
                print(f"{number + 1}: {dict(seen)}, {time.perf_counter() - began:.0f} s", flush=True)
    print(f"{count} schemas: {dict(seen)}, {time.perf_counter() - began:.0f} s")
    return 1 if seen["wrong"] else 0


if __name__ == "__main__":
    words, _, named = " ".join(sys.argv[1:]).partition("--model")
    numbers = [int(one) for one in words.split()]
    count, seed = numbers + [200, 1][len(numbers) :]
    sys.exit(main(count, seed, Path(named.strip()) if named else None))
