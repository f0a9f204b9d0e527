from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from support.providers.server import Upstream, upstream


@pytest.fixture
def servers(loopback: None) -> Iterator[Callable[..., list[Upstream]]]:  # noqa: ARG001 - it opens loopback
    """`servers("normal", "status:500")`: one running server for each script; a script is words split by spaces."""
    with ExitStack() as stack:
        yield lambda *scripts: [stack.enter_context(upstream(*script.split())) for script in scripts]
