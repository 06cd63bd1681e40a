"""What stands before the routes of ``hrkd serve``: bounds of bodies, patience with who sends them, and counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from fastapi import Response
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard", "refusal"]

DIGITS = 18
"""Of a length that any body has; Python makes no number of very many."""
SILENCE = 10.0
"""Seconds that a question may stop short of its end: who sends nothing for so long is not waited for."""


def refusal(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that says in one sentence why it is none."""
    return JSONResponse({"detail": detail}, status_code=status, headers=headers)


class Guard:
    """Refuses bodies beyond a limit by the length that they say, before they are read; those that say none too.

    Args:
        app: that is guarded.
        most: bytes of a body.
        question: path whose requests are counted.
        seen: called with the status of each of them.
    """

    def __init__(self, app: ASGIApp, *, most: int, question: str, seen: Callable[[int], object]) -> None:
        self.app, self.most, self.question, self.seen = app, most, question, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI calls an application; who waits when the server is ended at once is answered with status 503."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status: list[int] = []

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])
            await send(message)

        refused = self._refused(Headers(scope=scope)) if scope["method"] == "POST" else None
        try:
            await (refused or self.app)(scope, _patient(receive), noted)
        except asyncio.CancelledError:
            if status:
                raise
            await refusal(503, "the server was ended; ask another one, or again later")(scope, receive, noted)
        except Exception:
            status[:] = [500]
            raise
        finally:
            if status and scope["path"] == self.question:
                self.seen(status[0])

    def _refused(self, headers: Headers) -> Response | None:
        said = headers.get("content-length")
        if said is None:
            return refusal(411, "say how long the body is (content-length)")
        if not said.isdecimal() or len(said) > DIGITS or int(said) > self.most:
            return refusal(413, f"the body has more than {self.most:,} bytes; ask about fewer texts at a time")
        return None


def _patient(receive: Receive) -> Receive:
    """``receive``, until whoever sends a body says nothing for long."""
    whole = False

    async def received() -> Message:
        nonlocal whole
        if whole:  # what comes then is that the asker has gone, or nothing
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), SILENCE)
        except TimeoutError:
            detail = f"the rest of the body did not come for {SILENCE:g} seconds; send it at once"
            raise HTTPException(408, detail, {"Connection": "close"}) from None
        whole = not message.get("more_body", False)
        return message

    return received
