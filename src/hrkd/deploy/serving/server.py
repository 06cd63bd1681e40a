"""``hrkd serve``: a student behind HTTP until it is told to stop."""

from __future__ import annotations

import socket
from pathlib import Path

from hrkd.deploy.checks import BATCH_SIZE
from hrkd.deploy.predict import Predictor
from hrkd.errors import HrkdError, ModelError
from hrkd.support.arguments import check_count
from hrkd.support.progress import Show, quiet

__all__ = ["serve"]

SECONDS_TO_END = 10
"""Who has not sent the whole of a question by then is not waited for."""


def serve(
    folder: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    threads: int | None = None,
    texts: int = 256,
    characters: int = 100_000,
    batch_size: int = BATCH_SIZE,
    show: Show = quiet,
) -> None:
    """Serve a student, or an export of one, until SIGINT or SIGTERM; what was asked before is answered.

    Args:
        folder: as :meth:`hrkd.Predictor.from_pretrained` takes it.
        host, port: to listen at; port 0: any that is free. Whoever reaches them may ask: there are no accounts.
        threads: of an export; None: as many as its runtime takes.
        texts, characters: most of a question, and of a text.
        batch_size: texts in a forward pass.
        show: told where the server listens, once it does.

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
    predictor = Predictor.from_pretrained(folder, threads=threads)
    app = make_app(predictor, Limits(texts=texts, characters=characters, batch=batch_size))
    listening = _listening(host, port)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=SECONDS_TO_END)
    server = uvicorn.Server(config)
    show(f"{folder}: served at http://{host}:{listening.getsockname()[1]}")
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
