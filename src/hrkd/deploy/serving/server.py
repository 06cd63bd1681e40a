"""``hrkd serve``: a student behind HTTP until it is told to stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from hrkd.deploy.checks import BATCH_SIZE
from hrkd.deploy.predict import Predictor
from hrkd.errors import HrkdError, ModelError
from hrkd.support.arguments import check_count

__all__ = ["serve"]


def serve(
    folder: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    threads: int | None = None,
    texts: int = 256,
    characters: int = 100_000,
    batch_size: int = BATCH_SIZE,
    listens: Callable[[str], object] = lambda _: None,
) -> None:
    """Serve a student, or an export of one, until SIGINT or SIGTERM.

    What was asked before is answered, however long that takes. A second signal ends the server as soon as the texts
    that the model has begun are done; what waits then gets status 503. A question that stops short of its end is not
    waited for longer than :data:`hrkd.deploy.serving.guard.SILENCE`.

    Args:
        folder: as :meth:`hrkd.Predictor.from_pretrained` takes it.
        host, port: to listen at; port 0: any that is free. Whoever reaches them may ask: there are no accounts.
        threads: of an export; None: as many as its runtime takes.
        texts, characters: most of a question, and of a text.
        batch_size: texts in a forward pass.
        listens: told the address of the server once it listens.

    Raises:
        ArtifactError: there is no student in ``folder``.
        HrkdError: the address cannot be listened at.
        ModelError: a package is missing.
    """
    for name, value in {"texts": texts, "characters": characters, "batch_size": batch_size, "threads": threads}.items():
        if value is not None:
            check_count(f"--{name.replace('_', '-')}", value)
    try:
        import uvicorn

        from hrkd.deploy.serving.app import Limits, make_app
    except ImportError as error:
        raise ModelError(f"{error.name} is needed to serve, and is not installed; pip install 'hrkd[serve]'") from error

    class Server(uvicorn.Server):
        """Ends at once at a second signal of either kind."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            self.force_exit = self.should_exit
            super().handle_exit(sig, frame)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await super().shutdown(sockets)
            if self.force_exit:  # it leaves what is under way, and the application, as they are
                for task in (left := list(self.server_state.tasks)):
                    task.cancel()
                await asyncio.gather(*left, return_exceptions=True)
                await self.lifespan.shutdown()

    predictor = Predictor.from_pretrained(folder, threads=threads)
    app = make_app(predictor, Limits(texts=texts, characters=characters, batch=batch_size))
    listening = _listening(host, port)
    server = Server(uvicorn.Config(app, log_level="warning", access_log=False))
    shown = f"[{host}]" if ":" in host else host
    listens(f"http://{shown}:{listening.getsockname()[1]}")
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:  # raised again by the server once all is answered
        pass
    finally:
        listening.close()


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        raise HrkdError(f"{host}:{port}: cannot be listened at ({error}); choose another --host or --port") from error
    # Inherited by connections: head and body of an answer go apart, and the second would wait 40 ms for the first one's
    # receipt.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
