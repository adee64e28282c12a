"""Questions about what is served: models and their layers."""

from __future__ import annotations

from collections.abc import Iterator

from unpool.client import parsing, requests
from unpool.client.blocking.connection import Connection
from unpool.client.listing import Layer, Model, ModelSummary
from unpool.v1 import (
    model_service_pb2,
)


class Models(Connection):
    """Questions about what is served: models and their layers."""

    def models(self, *, timeout: float | None = None) -> tuple[ModelSummary, ...]:
        """Every model of the repository, by name, with those that cannot be served and why.

        Raises:
            UnpoolError: the call failed.
        """
        request = model_service_pb2.ListModelsRequest()
        return parsing.model_summaries(self._unary(self._models.ListModels, request, timeout))

    def model(self, name: str, *, version: int | None = None, timeout: float | None = None) -> Model:
        """Describes one version of a model; loads it where it has not been.

        Raises:
            UnpoolError: the call failed; ``NotFoundError`` has the nearest names.
        """
        request = requests.get_model(name, version)
        return parsing.model(self._unary(self._models.GetModel, request, timeout))

    def layers(
        self, model: str, *, version: int | None = None, of: str | None = None, timeout: float | None = None
    ) -> Iterator[Layer]:
        """The layers of a model, each behind those it is computed from.

        Args:
            model: its name.
            version: which version; ``None`` is the highest that can be served.
            of: the input that receptive fields are counted from; ``None`` is the picture input, or the first.
            timeout: seconds for each page.

        Raises:
            UnpoolError: a call failed, on iteration.
        """
        token = ""
        while True:
            request = requests.list_layers(model, version, of, token)
            page = self._unary(self._models.ListLayers, request, timeout)
            yield from map(parsing.layer, page.layers)
            # Later pages come from the version that gave the first one, even if a higher one has appeared since.
            version, token = page.version, page.next_page_token
            if not token:
                return
