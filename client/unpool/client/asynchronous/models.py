"""Questions about what is served: models and their layers."""

from __future__ import annotations

from collections.abc import AsyncIterator

from unpool.client import parsing, requests
from unpool.client.asynchronous.connection import AsyncConnection
from unpool.client.listing import Layer, Model, ModelSummary
from unpool.v1 import (
    model_service_pb2,
)


class AsyncModels(AsyncConnection):
    """Questions about what is served: models and their layers."""

    async def models(self, *, timeout: float | None = None) -> tuple[ModelSummary, ...]:
        """Every model of the repository; see ``Client.models``."""
        request = model_service_pb2.ListModelsRequest()
        return parsing.model_summaries(await self._unary(self._models.ListModels, request, timeout))

    async def model(self, name: str, *, version: int | None = None, timeout: float | None = None) -> Model:
        """Describes one version of a model; see ``Client.model``."""
        request = requests.get_model(name, version)
        return parsing.model(await self._unary(self._models.GetModel, request, timeout))

    async def layers(
        self, model: str, *, version: int | None = None, of: str | None = None, timeout: float | None = None
    ) -> AsyncIterator[Layer]:
        """The layers of a model; see ``Client.layers``."""
        token = ""
        while True:
            request = requests.list_layers(model, version, of, token)
            page = await self._unary(self._models.ListLayers, request, timeout)
            for layer in page.layers:
                yield parsing.layer(layer)
            version, token = page.version, page.next_page_token
            if not token:
                return
