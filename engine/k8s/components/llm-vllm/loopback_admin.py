"""For `vllm serve --middleware loopback_admin.LoopbackAdmin`: from outside of its pod vLLM is asked for answers alone.

Its port is one for all: a NetworkPolicy lets the service and Prometheus in and knows no paths. Adapters are registered,
and everything else is done, by who shares the pod's loopback address: the loader.
"""

OPEN = {
    ("GET", "/health"),  # probes
    ("GET", "/metrics"),
    ("GET", "/v1/models"),
    ("POST", "/v1/chat/completions"),
}
REFUSED = b'{"error": {"message": "from this pod alone", "type": "ForbiddenError", "code": 403}}'


class LoopbackAdmin:
    """An ASGI application around another one."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        kind, client = scope["type"], (scope.get("client") or ("",))[0]
        is_open = kind == "http" and (scope["method"], scope["path"].rstrip("/")) in OPEN
        # `lifespan` is the server's own; a peer that is unknown, as of a Unix socket, is not the loader.
        if is_open or kind == "lifespan" or client in ("127.0.0.1", "::1"):
            await self.app(scope, receive, send)
        elif kind == "http":
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": REFUSED})
        else:  # a WebSocket
            await send({"type": "websocket.close", "code": 1008})
