import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from tests.service.small import network, put, recipe, two_inputs

from unpool.engine.settings import EngineSettings
from unpool.repository import Repository
from unpool.service.server import Server
from unpool.service.settings import ServiceSettings

Serve = Callable[..., AbstractAsyncContextManager[tuple[Server, grpc.aio.Channel]]]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository: a described network with labels, a bare one, one of two inputs, and a broken file."""
    root = tmp_path / "models"
    folder = put(root, "small", network())
    (folder / "labels.txt").write_text("ant\nbee\ncat\ndog\nemu\n")
    (folder / "preprocessor_config.json").write_text(
        recipe(size={"shortest_edge": 36}, crop_size=32, rescale_factor=1 / 127, channel_order="BGR")
    )
    put(root, "bare", network(1))
    put(root, "pair", two_inputs())
    put(root, "broken", b"this is no model")
    return root


@pytest.fixture
def serve(models: Path) -> Serve:
    """Starts a server on a free port, or as told, and connects to it."""

    @asynccontextmanager
    async def start(
        settings: ServiceSettings | None = None, repository: Repository | None = None
    ) -> AsyncIterator[tuple[Server, grpc.aio.Channel]]:
        found = repository or Repository(models, engine_settings=EngineSettings(device="cpu", threads=2))
        server = Server(found, settings or ServiceSettings(port=0))
        await server.start()
        try:
            async with grpc.aio.insecure_channel(server.address) as channel:
                yield server, channel
        finally:
            await asyncio.wait_for(server.stop(0.0), 10)
            found.close()

    return start
