"""A real server on a free port, on a thread of its own, for clients that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unpool.engine import EngineSettings
from unpool.repository import Repository
from unpool.service.server import Server
from unpool.service.settings import ServiceSettings


@contextmanager
def serving(models: Path) -> Iterator[str]:
    """Serves a repository on the CPU; gives the address."""
    found = Repository(models, engine_settings=EngineSettings(device="cpu"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Server:
        server = Server(found, ServiceSettings(port=0))
        await server.start()
        return server

    try:
        server = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
        try:
            yield server.address
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(0.0), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        found.close()
