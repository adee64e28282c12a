"""The gRPC edge of questions about data sets: reads a message, asks a handler, writes what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message

from unpool.service.calls import Call, Context, answering
from unpool.service.exemplar_reading import (
    read_compare,
    read_evolution,
    read_list,
    read_patch,
    read_project,
    read_scan,
)
from unpool.service.exemplar_writing import (
    write_compare,
    write_evolution,
    write_list,
    write_patch,
    write_project,
    write_scan,
)
from unpool.service.exemplars import ExemplarHandlers
from unpool.service.scheduler import Scheduler, Work
from unpool.service.series import SeriesHandlers
from unpool.service.servicers import StreamContext
from unpool.v1 import exemplar_service_pb2, exemplar_service_pb2_grpc

A = TypeVar("A")


class ExemplarServicer(exemplar_service_pb2_grpc.ExemplarServiceServicer):
    """ExemplarService.

    Args:
        handlers: what answers questions about one model.
        series: what answers those over several models or versions.
        scheduler: what runs them, piece by piece.
        longest: seconds that a call without a deadline may take.
        longest_scan: the same for scans, evolutions and comparisons, which go over whole data sets.
    """

    def __init__(
        self,
        handlers: ExemplarHandlers,
        series: SeriesHandlers,
        scheduler: Scheduler,
        *,
        longest: float,
        longest_scan: float,
    ) -> None:
        self._handlers = handlers
        self._series = series
        self._scheduler = scheduler
        self._longest = longest
        self._longest_scan = longest_scan

    async def ScanExemplars(  # type: ignore[override]  # the generated context mixes the blocking and the asynchronous one
        self, request: exemplar_service_pb2.ScanExemplarsRequest, context: StreamContext
    ) -> None:
        async with answering("ScanExemplars", context, longest=self._longest_scan) as call:
            question = read_scan(request)
            call.fields |= {"model": question.model.name, "dataset": question.dataset}
            await self._stream(call, context, lambda: self._handlers.scan(question), write_scan)

    async def ListExemplars(  # type: ignore[override]
        self, request: exemplar_service_pb2.ListExemplarsRequest, context: Context
    ) -> exemplar_service_pb2.ListExemplarsResponse:
        async with answering("ListExemplars", context, longest=self._longest) as call:
            question = read_list(request)
            call.fields |= {"model": question.model.name, "layer": question.layer}
            message = await self._scheduler.aside.call(lambda: write_list(self._handlers.list(question)))
            call.sent = 1
            return message

    async def GetPatch(  # type: ignore[override]
        self, request: exemplar_service_pb2.GetPatchRequest, context: Context
    ) -> exemplar_service_pb2.GetPatchResponse:
        async with answering("GetPatch", context, longest=self._longest) as call:
            question = read_patch(request)
            call.fields |= {"model": question.model.name, "layer": question.layer}
            message = await self._scheduler.aside.call(lambda: write_patch(self._handlers.patch(question)))
            call.sent = 1
            return message

    async def ProjectExemplars(  # type: ignore[override]
        self, request: exemplar_service_pb2.ProjectExemplarsRequest, context: StreamContext
    ) -> None:
        async with answering("ProjectExemplars", context, longest=self._longest) as call:
            question = read_project(request)
            call.fields |= {"model": question.model.name, "layer": question.layer}
            await self._stream(call, context, lambda: self._handlers.project(question), write_project)

    async def TraceEvolution(  # type: ignore[override]
        self, request: exemplar_service_pb2.TraceEvolutionRequest, context: StreamContext
    ) -> None:
        async with answering("TraceEvolution", context, longest=self._longest_scan) as call:
            question = read_evolution(request)
            call.fields |= {"model": question.model, "dataset": question.dataset}
            await self._stream(call, context, lambda: self._series.evolution(question), write_evolution)

    async def CompareExemplars(  # type: ignore[override]
        self, request: exemplar_service_pb2.CompareExemplarsRequest, context: StreamContext
    ) -> None:
        async with answering("CompareExemplars", context, longest=self._longest_scan) as call:
            question = read_compare(request)
            call.fields |= {"model": [side.model.name for side in question.sides], "dataset": question.dataset}
            await self._stream(call, context, lambda: self._series.compare(question), write_compare)

    async def _stream(self, call: Call, context: StreamContext, work: Work[A], write: Callable[[A], Message]) -> None:
        async with self._scheduler.submit(work) as results:
            async for answer in results:
                await context.write(write(answer))
                call.sent += 1
