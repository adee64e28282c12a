"""The server: services, health and reflection on one port, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import os

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from unpool.exemplars import Roots, default_index
from unpool.exemplars.cropping import Cropped
from unpool.graph.errors import InvalidArgumentError
from unpool.repository import Repository
from unpool.service.binding import address, bound
from unpool.service.describing import ModelHandlers
from unpool.service.exemplar_servicer import ExemplarServicer
from unpool.service.exemplars import ExemplarHandlers
from unpool.service.inspection import InspectionHandlers
from unpool.service.scheduler import Scheduler
from unpool.service.series import SeriesHandlers
from unpool.service.servicers import InspectionServicer, ModelServicer
from unpool.service.settings import ServiceSettings
from unpool.v1 import (
    exemplar_service_pb2,
    exemplar_service_pb2_grpc,
    inspection_service_pb2,
    inspection_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)

_log = logging.getLogger(__name__)
SERVICES = (
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
    inspection_service_pb2.DESCRIPTOR.services_by_name["InspectionService"].full_name,
    exemplar_service_pb2.DESCRIPTOR.services_by_name["ExemplarService"].full_name,
)
_CONCURRENT_CALLS = 1024
_CLOSING_SECONDS = 0.1


class Server:
    """A running server; made on the event loop.

    Args:
        repository: the models; not closed with the server.
        settings: how it listens, and what it refuses.

    Raises:
        InvalidArgumentError: an address that it must not or cannot bind, or a data root that is not there.
    """

    def __init__(self, repository: Repository, settings: ServiceSettings | None = None) -> None:
        self._repository = repository
        self._settings = settings or ServiceSettings()
        wanted = address(self._settings)
        self._roots = Roots.of(self._settings.data)
        self.scheduler = Scheduler(self._settings.scheduler)
        self._server = grpc.aio.server(options=_options(self._settings), maximum_concurrent_rpcs=_CONCURRENT_CALLS)
        self._started = False
        self._health = health.aio.HealthServicer()
        self._register()
        try:
            port = self._bind(wanted)
        except RuntimeError as error:
            self.scheduler.close()
            raise InvalidArgumentError("address", f"{wanted} cannot be bound; is another server there?") from error
        self.address = bound(self._settings, wanted, port)

    async def start(self) -> None:
        """Loads what is to be loaded at start, then listens; ready when this returns."""
        if self._settings.load_at_start:
            await self.scheduler.aside.call(self._repository.load_all)
        await self._server.start()
        self._started = True
        for name in ("", *SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        _log.info("ready", extra={"address": self.address})

    async def stop(self, grace: float | None = None) -> bool:
        """Takes no new calls, lets running ones go on for ``grace`` seconds, then ends them.

        Returns:
            ``False`` where a thread could not be ended.
        """
        if not self._started:
            return self.scheduler.close(timeout=0.5)
        await self._health.enter_graceful_shutdown()
        grace = self._settings.drain_seconds if grace is None else grace
        stopping = asyncio.create_task(self._server.stop(grace))
        # The ports are closed before anybody hears of it: a call that slipped in between would only be cancelled.
        await asyncio.wait({stopping}, timeout=_CLOSING_SECONDS)
        _log.info("draining", extra={"calls": self.scheduler.admitted, "grace": grace})
        await stopping
        ended = self.scheduler.close()
        _log.info("stopped")
        return ended

    def _bind(self, wanted: str) -> int:
        if self._settings.uds is None:
            return self._server.add_insecure_port(wanted)
        # The socket is as private as a password would make it, from the moment it is there.
        mask = os.umask(0o177)
        try:
            return self._server.add_insecure_port(wanted)
        finally:
            os.umask(mask)

    def _register(self) -> None:
        longest = self._settings.longest_seconds
        models = ModelServicer(ModelHandlers(self._repository), self.scheduler, longest=longest)
        about_data = (self._repository, self._roots, self._settings.index or default_index(), Cropped())
        exemplar_handlers = ExemplarHandlers(*about_data)
        handlers = InspectionHandlers(
            self._repository, pixels=self._settings.pixels, standing=exemplar_handlers.standing
        )
        inspection = InspectionServicer(handlers, self.scheduler, longest=longest, positions=self._settings.positions)
        exemplars = ExemplarServicer(
            exemplar_handlers,
            SeriesHandlers(*about_data),
            self.scheduler,
            longest=longest,
            longest_scan=self._settings.longest_scan_seconds,
        )
        exemplar_service_pb2_grpc.add_ExemplarServiceServicer_to_server(exemplars, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, self._server)
        inspection_service_pb2_grpc.add_InspectionServiceServicer_to_server(inspection, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)


def _options(settings: ServiceSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        # A picture or a tensor fits the flow-control window as it is, instead of ten round trips of 64 KiB.
        ("grpc.http2.lookahead_bytes", 4 << 20),
        # Two servers on one port would each get some of the calls, and nobody would know.
        ("grpc.so_reuseport", 0),
        # A peer that vanished without a word is found out, and its work ended.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ]
