"""Requests say what was asked; arrays and streams come back whole, or not at all."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from unpool.client import arrays, requests
from unpool.client.errors import InvalidArgumentError, ServerError
from unpool.client.readers import CaptureReader, ProjectionReader
from unpool.v1 import (
    input_pb2,
    inspection_pb2,
    inspection_service_pb2,
    policy_pb2,
    tensor_pb2,
)

INTEGERS = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
DTYPES = ["float16", "float32", "float64", "bool", *INTEGERS]


def ask(**options: Any) -> inspection_service_pb2.ProjectRequest:
    defaults: dict[str, Any] = {
        "layer": "conv1",
        "channels": None,
        "top": None,
        "positions": "max",
        "policy": "deconvnet",
        "start": None,
        "to": None,
        "signals": True,
        "png": False,
        "contrast": 2.0,
        "against": None,
    }
    return requests.project("net", None, input_pb2.Input(), **{**defaults, **options})


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_survive_the_way_there_and_back(dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 2, (2, 0 + 3, 4)).astype(dtype)
    back = arrays.from_message(arrays.to_message(values, "tensor"))
    assert back.dtype == values.dtype
    assert back.shape == values.shape
    assert np.array_equal(back, values)


def test_bfloat16_comes_back_as_float32_without_loss() -> None:
    values = np.array([1.5, -2.0, 3e38, 0.0], dtype=ml_dtypes.bfloat16)
    back = arrays.from_message(arrays.to_message(values, "tensor"))
    assert back.dtype == np.float32
    assert np.array_equal(back, values.astype(np.float32))


def test_scalars_and_empty_arrays_travel() -> None:
    assert arrays.from_message(arrays.to_message(np.float32(2.5), "x")).shape == ()
    assert arrays.from_message(arrays.to_message(np.zeros((2, 0), np.int8), "x")).shape == (2, 0)


def test_bytes_that_do_not_fit_the_shape_are_refused() -> None:
    with pytest.raises(ServerError, match="7 bytes"):
        arrays.from_message(tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_FLOAT32, shape=[2], data=b"1234567"))


def test_a_question_without_channels_asks_for_the_strongest_nine() -> None:
    assert ask().top == 9
    assert ask(top=3).top == 3
    request = ask(channels=[4, np.int64(2)])
    assert (list(request.channels), request.top) == ([4, 2], 0)
    assert list(ask(channels=np.int32(5)).channels) == [5]


def test_the_default_position_mode_is_left_to_the_server() -> None:
    assert ask().position_mode == inspection_pb2.POSITION_MODE_UNSPECIFIED
    assert ask(positions="all").position_mode == inspection_pb2.POSITION_MODE_ALL
    assert ask(positions="map").position_mode == inspection_pb2.POSITION_MODE_MAP


def test_explicit_positions_have_one_index_for_each_axis() -> None:
    request = ask(positions=[(1, 2), (3, 4)])
    assert request.position_mode == inspection_pb2.POSITION_MODE_EXPLICIT
    assert [list(place.index) for place in request.positions] == [[1, 2], [3, 4]]
    assert [list(place.index) for place in ask(positions=[5, 6]).positions] == [[5], [6]]


def test_policies_and_starts_are_words_or_numbers() -> None:
    assert ask(policy="guided").policy == policy_pb2.POLICY_GUIDED
    assert ask(start="one").start == inspection_pb2.START_ONE
    assert ask(start="activation").start == inspection_pb2.START_ACTIVATION
    request = ask(start=-2.5)
    assert (request.start, request.start_value) == (inspection_pb2.START_VALUE, -2.5)
    assert ask().start == inspection_pb2.START_UNSPECIFIED


def test_a_drawing_is_asked_for_only_when_wanted() -> None:
    assert not ask().HasField("render")
    assert ask(png=True, contrast=3.0, signals=False).render.gain == 3.0
    assert ask(signals=False).omit_signal


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"policy": "magic"}, "policy"),
        ({"positions": "some"}, "positions"),
        ({"positions": []}, "positions"),
        ({"start": "two"}, "start"),
        ({"channels": []}, "channels"),
        ({"channels": [1], "top": 3}, "top"),
        ({"channels": [2**64]}, "channels"),
    ],
)
def test_what_can_never_be_right_is_refused_before_it_is_sent(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        ask(**options)
    assert caught.value.field == field


def captured(*chunks: tuple[int, int, bytes, bool], size: int = 8) -> list[inspection_service_pb2.CaptureResponse]:
    layer = inspection_pb2.CapturedLayer(
        name="a", dtype=tensor_pb2.DATA_TYPE_FLOAT32, shape=[size // 4], byte_size=size
    )
    header = inspection_pb2.CaptureHeader(layers=[layer])
    return [
        inspection_service_pb2.CaptureResponse(header=header),
        *(
            inspection_service_pb2.CaptureResponse(
                chunk=inspection_pb2.CaptureChunk(layer=number, byte_offset=offset, data=data, last=last)
            )
            for number, offset, data, last in chunks
        ),
    ]


@pytest.mark.parametrize(
    "messages",
    [
        captured((0, 4, b"1234", True)),
        captured((1, 0, b"1234", True)),
        captured((0, 0, b"123456789", True)),
        captured((0, 0, b"1234", True)),
        captured((0, 0, b"12345678", True), (0, 8, b"1", True)),
        captured((0, 0, b"12345678", True))[1:],
        captured() + captured(),
    ],
)
def test_pieces_that_do_not_make_up_the_tensor_are_refused(
    messages: list[inspection_service_pb2.CaptureResponse],
) -> None:
    reader = CaptureReader()
    with pytest.raises(ServerError):
        list(map(reader.feed, messages))


def test_a_capture_that_ends_early_is_an_error() -> None:
    reader = CaptureReader()
    for message in captured((0, 0, b"1234", False)):
        assert reader.feed(message) == []
    with pytest.raises(ServerError, match="0 of 1"):
        reader.finish()


def test_a_signal_that_does_not_lie_in_its_box_is_refused() -> None:
    reader = ProjectionReader()
    header = inspection_pb2.ProjectHeader(to_plane=[4, 4], total=1)
    reader.feed(inspection_service_pb2.ProjectResponse(header=header))
    signal = arrays.to_message(np.zeros((3, 2, 2), np.float32), "signal")
    outside = inspection_pb2.Projection(box=tensor_pb2.Box(lower=[3, 0], upper=[5, 2]), signal=signal)
    with pytest.raises(ServerError, match="box"):
        reader.feed(inspection_service_pb2.ProjectResponse(batch=inspection_pb2.ProjectionBatch(projections=[outside])))
