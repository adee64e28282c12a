"""Modules and programs become ONNX that computes the same, or are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch.nn import functional

from unpool.converters import ConversionError, Entry, Exporter, ParityError, convert
from unpool.converters.export import export


class Mixed(torch.nn.Module):
    """Rectifiers in every style: functional, in place, a module used twice; and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.block = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.ReLU(inplace=True))
        self.twice = torch.nn.ReLU(inplace=True)
        self.last = torch.nn.Linear(8, 5)
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = functional.relu(self.norm(self.first(x)))
        x = functional.max_pool2d(self.block(x), 2)
        features = self.twice(self.twice(x - 0.1) - 0.1)
        return self.last(features.mean((2, 3))), features


class Branching(torch.nn.Module):
    """What a tracer cannot see: the second output follows the values."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x * 2, x if float(x.mean()) > 0 else -x


class BatchOfOne(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(1, 3 * 16 * 16) * 3


def _example(seed: int = 0, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("exporter", [Exporter.DYNAMO, Exporter.TORCHSCRIPT])
def test_written_model_equals_the_module_at_another_batch_size(tmp_path: Path, exporter: Exporter) -> None:
    module = Mixed().train()
    report = convert(
        module,
        [_example()],
        Entry(tmp_path, "mixed"),
        exporter=exporter,
        output_names=["scores", "features"],
        samples=[[_example(5)]],
    )
    assert module.training
    assert report.exporter is exporter
    assert report.dynamic_batch
    assert [output.name for output in report.outputs] == ["scores", "features"]
    assert all(output.difference <= 1e-5 for output in report.outputs)
    x = _example(3, batch=3)
    with torch.no_grad():
        expected = [y.numpy() for y in module.eval()(x.clone())]
    session = ort.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    for actual, y in zip(session.run(["scores", "features"], {"input": x.numpy()}), expected, strict=True):
        np.testing.assert_allclose(actual, y, rtol=1e-4, atol=1e-5)
    rectifiers = [node for node in onnx.load(report.path).graph.node if node.op_type == "Relu"]
    assert len(rectifiers) == 4


def test_nodes_are_named_after_modules_and_names_are_unique() -> None:
    graph = export(Mixed(), [_example()], exporter=Exporter.DYNAMO).model.graph
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    assert {"/first/Conv", "/block/0/Conv", "/block/1/Relu", "/twice/Relu", "/twice/Relu_1", "/last/Gemm"} <= set(names)
    tensors = [name for node in graph.node for name in node.output]
    assert len(set(tensors)) == len(tensors)
    onnx.checker.check_model(export(Mixed(), [_example()]).model, full_check=True)


def test_exported_file_tells_nothing_of_the_machine() -> None:
    model = export(Mixed(), [_example()], exporter=Exporter.DYNAMO).model
    assert str(Path(__file__).parent).encode() not in model.SerializeToString()


def test_an_export_that_differs_is_refused_naming_the_output_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="'second'") as refusal:
        convert(
            Branching(),
            [_example().abs()],
            Entry(tmp_path, "branching"),
            output_names=["first", "second"],
            samples=[[-_example().abs()]],
        )
    assert refusal.value.output == "second"
    assert refusal.value.difference == pytest.approx(2.0)
    assert f"{refusal.value.difference:.3g}" in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_a_module_of_fixed_batch_is_exported_with_it(tmp_path: Path) -> None:
    report = convert(BatchOfOne(), [_example()], Entry(tmp_path, "one"), exporter=Exporter.DYNAMO)
    assert not report.dynamic_batch
    (value,) = onnx.load(report.path).graph.input
    assert value.type.tensor_type.shape.dim[0].dim_value == 1


@pytest.mark.parametrize("dynamic", [True, False])
def test_an_exported_program_keeps_its_axes(tmp_path: Path, dynamic: bool) -> None:
    module = Mixed().eval()
    shapes = ({0: torch.export.Dim("n")},) if dynamic else None
    program = torch.export.export(module, (_example(batch=2),), dynamic_shapes=shapes)
    report = convert(program, [_example(batch=2)], Entry(tmp_path, "program"))
    assert report.dynamic_batch is dynamic
    assert report.exporter is Exporter.DYNAMO
    x = _example(9, batch=2)
    with torch.no_grad():
        scores = module(x.clone())[0].numpy()
    session = ort.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"input": x.numpy()})[0], scores, rtol=1e-4, atol=1e-5)


def test_a_module_that_no_exporter_accepts_is_refused_with_the_reasons() -> None:
    class Breaks(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if torch.compiler.is_exporting() or torch.jit.is_tracing():
                raise RuntimeError("not while traced")
            return x

    with pytest.raises(ConversionError, match="not while traced"):
        export(Breaks(), [_example()])


def test_outputs_that_are_no_tensors_are_refused() -> None:
    class Text(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, str]:
            return x, "text"

    with pytest.raises(ConversionError, match="must return tensors"):
        export(Text(), [_example()])
