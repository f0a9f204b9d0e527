"""guardrails-ai without two packages that it imports and validators do not use.

Faker invents values for a schema, and the exporter over gRPC sends the library's own spans: 31 MB and a third of a
second. The locks leave them out (engine/docs/decisions/locks.md), and while `import guardrails` runs, two classes stand
in their places. They can be made, as the library does when it is imported; using one says what is missing.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_LIBRARY = "guardrails"
_GRPC = "opentelemetry.exporter.otlp.proto.grpc"
_LEFT_OUT = {"faker": ("faker", "Faker"), _GRPC: (f"{_GRPC}.trace_exporter", "OTLPSpanExporter")}


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        absent = [package for package in _LEFT_OUT if find_spec(package) is None]
        sys.modules.update(_placeholder(package, *_LEFT_OUT[package]) for package in absent)
        try:
            super().exec_module(module)
        finally:
            for package in absent:
                del sys.modules[_LEFT_OUT[package][0]]


def _placeholder(package: str, module: str, name: str) -> tuple[str, ModuleType]:
    def refuse(self: Any, attribute: str) -> None:  # noqa: ARG001 - the arguments of __getattr__
        words = f"{package} is not installed: add its distribution to engine/requirements/serve.in"
        raise ModuleNotFoundError(words, name=package)

    made = ModuleType(module)
    setattr(made, name, type(name, (), {"__getattr__": refuse}))
    return module, made


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        spec = PathFinder.find_spec(fullname, path) if fullname == _LIBRARY else None
        if spec and spec.origin:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


sys.meta_path.insert(0, _Finder())
