"""GetModel tells whether torch computes what ONNX Runtime does, once that is known."""

import asyncio
from pathlib import Path

from tests.service.conftest import Serve

from unpool.client import parsing
from unpool.engine.settings import EngineSettings
from unpool.repository import Examiner, OutputParity, Parity, Repository
from unpool.repository.entry import Entry, open_entry
from unpool.repository.layout import Source
from unpool.v1 import input_pb2, model_pb2, model_service_pb2, model_service_pb2_grpc

CPU = EngineSettings(device="cpu", threads=1)
ASKED = model_service_pb2.GetModelRequest(model=input_pb2.ModelSpec(name="small"))


async def test_parity_is_pending_first_and_then_holds(models: Path, serve: Serve) -> None:
    examiner = Examiner()
    examiner.start()
    try:
        async with serve(repository=Repository(models, engine_settings=CPU, examiner=examiner)) as (_, channel):
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            states = []
            for _ in range(600):
                response = await stub.GetModel(ASKED)
                states.append(response.model.parity.state)
                if states[-1] != model_pb2.PARITY_STATE_PENDING:
                    break
                await asyncio.sleep(0.1)
            assert states[-1] == model_pb2.PARITY_STATE_HOLDS
            parity = parsing.model(response).parity
            assert (parity.state, parity.output, parity.reason) == ("holds", "scores", "")
            assert parity.difference <= parity.tolerance == 1e-4
    finally:
        examiner.close()


async def test_without_an_examiner_nothing_is_compared(serve: Serve) -> None:
    async with serve() as (_, channel):
        response = await model_service_pb2_grpc.ModelServiceStub(channel).GetModel(ASKED)
        assert response.model.parity.state == model_pb2.PARITY_STATE_UNSPECIFIED
        assert parsing.model(response).parity.state == ""


async def test_a_difference_is_told_and_warned_of(models: Path, serve: Serve) -> None:
    from concurrent.futures import Future
    from dataclasses import replace

    def opener(source: Source) -> Entry:
        found: Future[Parity] = Future()
        found.set_result(Parity((OutputParity("scores", 0.25, 1e-4),), (("image", (1, 3, 32, 32)),), ("odd",)))
        return replace(open_entry(source, CPU), parity=found)

    async with serve(repository=Repository(models, opener=opener)) as (_, channel):
        response = await model_service_pb2_grpc.ModelServiceStub(channel).GetModel(ASKED)
        parity = parsing.model(response).parity
        assert (parity.state, parity.output, parity.difference) == ("differs", "scores", 0.25)
        assert parity.borrowed_nodes == ("odd",)
        assert any("torch differs from ONNX Runtime" in warning for warning in response.model.warnings)
