"""The gRPC edge: reads a message, asks a handler, writes what it answers. No decision is taken here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from unpool.service.calls import Call, Context, answering
from unpool.service.describing import ModelHandlers
from unpool.service.inspection import InspectionHandlers
from unpool.service.model_writing import write_layers, write_model, write_models
from unpool.service.occlusion_reading import read_occlude
from unpool.service.occlusion_writing import write_occlude
from unpool.service.reading import read_capture, read_classify, read_layers, read_model, read_project
from unpool.service.scheduler import Scheduler, Work
from unpool.service.writing import write_capture, write_classify, write_project
from unpool.v1 import (
    inspection_service_pb2,
    inspection_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    occlusion_pb2,
)

A = TypeVar("A")
M = TypeVar("M", bound=Message)
_Inspection = inspection_service_pb2_grpc.InspectionServiceServicer


class StreamContext(Context, Protocol):
    """A context that messages are written to."""

    async def write(self, message: Message) -> None: ...


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """ModelService.

    Args:
        handlers: what answers.
        scheduler: whose threads aside it runs on.
        longest: seconds that a call without a deadline may take.
    """

    def __init__(self, handlers: ModelHandlers, scheduler: Scheduler, *, longest: float) -> None:
        self._handlers = handlers
        self._scheduler = scheduler
        self._longest = longest

    async def ListModels(  # type: ignore[override]  # the generated context mixes the blocking and the asynchronous one
        self, request: model_service_pb2.ListModelsRequest, context: Context
    ) -> model_service_pb2.ListModelsResponse:
        async with answering("ListModels", context, longest=self._longest) as call:
            return await self._aside(call, lambda: write_models(self._handlers.list_models()))

    async def GetModel(  # type: ignore[override]
        self, request: model_service_pb2.GetModelRequest, context: Context
    ) -> model_service_pb2.GetModelResponse:
        async with answering("GetModel", context, longest=self._longest) as call:
            question = read_model(request.HasField("model"), request.model)
            call.fields["model"] = question.name
            return await self._aside(call, lambda: write_model(self._handlers.get_model(question)))

    async def ListLayers(  # type: ignore[override]
        self, request: model_service_pb2.ListLayersRequest, context: Context
    ) -> model_service_pb2.ListLayersResponse:
        async with answering("ListLayers", context, longest=self._longest) as call:
            question = read_layers(request)
            call.fields["model"] = question.model.name
            return await self._aside(call, lambda: write_layers(self._handlers.list_layers(question)))

    async def _aside(self, call: Call, answer: Callable[[], M]) -> M:
        message = await self._scheduler.aside.call(answer)
        call.sent = 1
        return message


class InspectionServicer(_Inspection):
    """InspectionService.

    Streams are written with ``context.write``, not yielded: a cancelled call then ends inside this code, at once.

    Args:
        handlers: what answers.
        scheduler: what runs them, piece by piece.
        longest: seconds that a call without a deadline may take.
        positions: the most positions of an occlusion.
    """

    def __init__(self, handlers: InspectionHandlers, scheduler: Scheduler, *, longest: float, positions: int) -> None:
        self._handlers = handlers
        self._scheduler = scheduler
        self._longest = longest
        self._positions = positions

    async def Classify(  # type: ignore[override]
        self, request: inspection_service_pb2.ClassifyRequest, context: Context
    ) -> inspection_service_pb2.ClassifyResponse:
        async with answering("Classify", context, longest=self._longest) as call:
            question = read_classify(request)
            call.fields["model"] = question.model.name
            async with self._scheduler.submit(lambda: self._handlers.classify(question)) as results:
                answer = await results.one()
            call.sent = 1
            return write_classify(answer)

    async def Capture(  # type: ignore[override]
        self, request: inspection_service_pb2.CaptureRequest, context: StreamContext
    ) -> None:
        async with answering("Capture", context, longest=self._longest) as call:
            question = read_capture(request)
            call.fields |= {"model": question.model.name, "layers": len(question.layers)}
            await self._stream(call, context, lambda: self._handlers.capture(question), write_capture)

    async def Project(  # type: ignore[override]
        self, request: inspection_service_pb2.ProjectRequest, context: StreamContext
    ) -> None:
        async with answering("Project", context, longest=self._longest) as call:
            question = read_project(request)
            call.fields |= {"model": question.model.name, "layer": question.request.layer}
            await self._stream(call, context, lambda: self._handlers.project(question), write_project)

    async def Occlude(  # type: ignore[override]
        self, request: occlusion_pb2.OccludeRequest, context: StreamContext
    ) -> None:
        async with answering("Occlude", context, longest=self._longest) as call:
            question = read_occlude(request, budget=self._positions)
            call.fields |= {"model": question.model.name, "layer": request.layer}
            await self._stream(call, context, lambda: self._handlers.occlude(question), write_occlude)

    async def _stream(self, call: Call, context: StreamContext, work: Work[A], write: Callable[[A], Message]) -> None:
        async with self._scheduler.submit(work) as results:
            async for answer in results:
                await context.write(write(answer))
                call.sent += 1
