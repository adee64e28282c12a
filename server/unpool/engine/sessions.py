"""ONNX Runtime sessions over cuts of a model: made on first use, bounded in number, sharing one copy of the weights."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch
from torch import Tensor

from unpool.engine.devices import Device
from unpool.engine.plan import Plan
from unpool.engine.runtime_words import runtime_words
from unpool.graph.errors import ModelError, PreconditionError
from unpool.graph.garbage import garbage_kept
from unpool.graph.model import Array
from unpool.graph.stages import stage

_SHARED_BYTES = 1024
"""Initialisers above this size are shared between sessions; ONNX Runtime folds smaller ones while it loads."""

_SHARERS = frozenset({"Conv", "ConvTranspose", "Gather", "Gemm", "MatMul"})
"""Operators whose weights are shared. ONNX Runtime transposes those of others (a Mul behind a Transpose) in place, and
then reads what it is given under their names as if it were transposed."""
_MULTIPLIERS = frozenset({"Gemm", "MatMul"})
"""Operators whose weights no fusion of ONNX Runtime's reads as a rule."""
_HALVES = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
_PRESENT = Path(__file__)
"""ONNX Runtime looks whether a file that it is told of is there, though it then reads what it is given instead."""
_BEHIND = 1 << 40
"""A place behind the end of that file, in bytes."""


def shape_name(value: str) -> str:
    """The name under which a session gives the extents of a value."""
    return f"unpool/shape/{value}"


def switch_name(node: str) -> str:
    """The name under which a session gives the ONNX Indices of a max-pool node."""
    return f"unpool/switches/{node}"


def sign_name(value: str) -> str:
    """The name under which a session gives the sign of a value: uint8, 1 where it is above zero."""
    return f"unpool/sign/{value}"


@dataclass(frozen=True)
class Session:
    """A session and what it takes and gives; of some outputs the channels, the second axis, are given innermost."""

    run: ort.InferenceSession
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    channels_last: frozenset[str] = frozenset()


class Sessions:
    """The sessions of one model on one device."""

    def __init__(self, model: ir.Model, device: Device, *, threads: int, limit: int) -> None:
        self._model = model
        self._device = device
        self._threads = threads
        self._limit = limit
        self._sessions: OrderedDict[Plan, Session] = OrderedDict()
        self._lock = threading.Lock()
        self._weights: dict[str, ort.OrtValue] = {}
        self._arrays: dict[str, Array] = {}
        self._shapes = {v.name: v.shape for node in model.graph for v in node.outputs}

    def find(self, plan: Plan) -> Session | None:
        """The session that is kept for a plan, if any."""
        with self._lock:
            if plan in self._sessions:
                self._sessions.move_to_end(plan)
            return self._sessions.get(plan)

    def keep(self, plan: Plan, session: Session) -> None:
        """Keeps a session; the least recently used goes where there are too many."""
        with self._lock:
            self._sessions[plan] = session
            self._sessions.move_to_end(plan)
            while len(self._sessions) > self._limit:
                self._sessions.popitem(last=False)

    def close(self) -> None:
        """Lets go of every session and weight."""
        with self._lock:
            self._sessions.clear()
            self._weights.clear()
            self._arrays.clear()

    def create(self, plan: Plan, *, optimised: bool = True) -> Session:
        """A new session for a plan.

        Args:
            plan: what it is to give.
            optimised: whether ONNX Runtime may fuse.

        Raises:
            ModelError: ONNX Runtime does not take the model.
            PreconditionError: the session fell back to another provider.
        """
        # What is refused may be a fusion that wants a matrix's values, or its own work, as a Pad that goes into a pool.
        attempts = [(True, True), (True, False), (False, False)] if optimised else [(False, True), (False, False)]
        for fused, apart in attempts:
            try:
                session = self._session(plan, fused=fused, apart=apart)
                break
            except (ModelError, MemoryError):
                raise
            except Exception as error:  # ONNX Runtime raises a private type per status code
                refusal = error
        else:
            raise ModelError(f"ONNX Runtime does not take the model: {runtime_words(refusal)}") from refusal
        self._device.confirm(session)
        inputs = tuple(i.name for i in session.get_inputs())
        moved = frozenset(sign_name(n) for n in plan.signs if self._moved(n))
        return Session(session, inputs, tuple(o.name for o in session.get_outputs()), moved)

    def _session(self, plan: Plan, *, fused: bool, apart: bool) -> ort.InferenceSession:
        """One attempt; ``apart`` gives ONNX Runtime the matrices of products by reference, not within the model."""
        options = self._options(fused=fused)
        with garbage_kept(), stage("preparing the model for ONNX Runtime"):
            data = self._serialised(self._cut(plan), options, apart=apart)
        # On the CPU alone a second attempt would fail as well, and print to standard output.
        elsewhere = int(len(self._device.providers) > 1)
        return ort.InferenceSession(data, options, providers=self._device.providers, enable_fallback=elsewhere)

    def _options(self, *, fused: bool) -> ort.SessionOptions:
        options = ort.SessionOptions()
        # A laid out run is kept for each number of images that comes, and memory with it; runs are no slower without.
        options.enable_mem_pattern = False
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Spinning threads would fight torch's for the same cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Packed weights would be a private copy in every session.
        options.add_session_config_entry("session.disable_prepacking", "1")
        # An attempt that fails is no error yet.
        options.log_severity_level = 4
        if not fused:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return options

    def _serialised(self, cut: ir.Model, options: ort.SessionOptions, *, apart: bool) -> bytes:
        """The model as ONNX Runtime reads it; the weights that sessions share go into its options."""
        folders = {os.fspath(t.base_dir) for t in _tensors(cut) if isinstance(t, ir.ExternalTensor)}
        folder = folders.pop() if folders else os.fspath(_PRESENT.parent)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        _name_nodes(cut.graph)
        for name, weight in cut.graph.initializers.items():
            tensor = weight.const_value
            if tensor is None:
                continue
            if self._shared(tensor) and _goes_only_into(weight, _SHARERS):
                options.add_initializer(name, self._weight(name, tensor))
                # Copying the matrices of a classifier into the model and out again would take most of the time.
                within = not isinstance(tensor, ir.ExternalTensor) and folder == str(_PRESENT.parent)
                if apart and within and _goes_only_into(weight, _MULTIPLIERS):
                    weight.const_value = _elsewhere(tensor, name)
            elif isinstance(tensor, ir.ExternalTensor) and tensor.nbytes <= _SHARED_BYTES:
                weight.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=name)
        return ir.to_proto(cut).SerializeToString()

    def _cut(self, plan: Plan) -> ir.Model:
        """The part of the model that a plan needs, with its taps as outputs."""
        graph = self._model.graph
        sources = sorted(plan.sources) or [i.name or "" for i in graph.inputs if i.name not in graph.initializers]
        sinks = sorted(plan.sinks | plan.shapes | plan.signs)
        pools = {n.name: n for n in graph if n.op_type == "MaxPool" and n.name in plan.switches}
        tapped = [pool.outputs[0].name or "" for name, pool in sorted(pools.items())]
        # Only extraction copies the nodes, so that an output can be added to them.
        cut = ir.convenience.extract(graph, sources, list(dict.fromkeys(sinks + tapped)))
        values = {v.name: v for node in cut for v in node.outputs} | {v.name: v for v in cut.inputs}
        for node in list(cut):
            if node.name in plan.switches:
                if len(node.outputs) < 2:
                    node.resize_outputs(2)
                indices = node.outputs[1]
                indices.name = switch_name(node.name)
                indices.type = ir.TensorType(ir.DataType.INT64)
                cut.outputs.append(indices)
        for name in sorted(plan.shapes):
            shape = ir.node("Shape", [values[name]])
            shape.outputs[0].name = shape_name(name)
            shape.outputs[0].type = ir.TensorType(ir.DataType.INT64)
            cut.append(shape)
            cut.outputs.append(shape.outputs[0])
        for name in sorted(plan.signs):
            sign = self._sign(values[name])
            cut.extend(sign)
            cut.outputs.append(sign[-1].outputs[0])
        kept = plan.sinks
        for output in list(cut.outputs):
            if output.name not in kept and not (output.name or "").startswith("unpool/"):
                cut.outputs.remove(output)
        for opset, version in self._model.opset_imports.items():
            cut.opset_imports[opset] = version
        return ir.Model(cut, ir_version=self._model.ir_version, functions=list(self._model.functions.values()))

    def _sign(self, value: ir.Value) -> list[ir.Node]:
        """What takes a value's sign where it is made, in ONNX Runtime's threads, and lays it out as walks read it."""
        assert value.name is not None
        zero = ir.node("Constant", [], {"value": ir.tensor(np.zeros((), np.float32))})
        above = ir.node("Greater", [value, zero.outputs[0]])
        nodes = [zero, above, ir.node("Cast", [above.outputs[0]], {"to": ir.DataType.UINT8})]
        if self._moved(value.name):
            assert value.shape is not None
            order = [0, *range(2, len(value.shape)), 1]
            nodes.append(ir.node("Transpose", [nodes[-1].outputs[0]], {"perm": order}))
        for i, node in enumerate(nodes):
            node.outputs[0].name = f"{sign_name(value.name)}/{i}"
        nodes[-1].outputs[0].name = sign_name(value.name)
        nodes[-1].outputs[0].type = ir.TensorType(ir.DataType.UINT8)
        return nodes

    def _moved(self, name: str) -> bool:
        """Whether the sign of a value is given with its channels innermost: a picture's or a volume's."""
        shape = self._shapes.get(name)
        return shape is not None and len(shape) in (4, 5)

    def _shared(self, tensor: ir.TensorProtocol) -> bool:
        """Whether sessions share a weight: not a small one, nor one that ONNX Runtime widens and then misreads."""
        widened = self._device.torch.type == "cpu" and tensor.dtype in _HALVES
        return tensor.nbytes > _SHARED_BYTES and not widened

    def _weight(self, name: str, tensor: ir.TensorProtocol) -> ort.OrtValue:
        # Two threads may make sessions at once, and memory that one of them already reads must not be replaced.
        with self._lock:
            if name not in self._weights:
                try:
                    array = np.asarray(tensor.numpy(), order="C")
                except ValueError as error:
                    raise ModelError(f"the bytes of tensor '{name}' are not those of its elements") from error
                self._arrays[name] = array  # ONNX Runtime reads this memory: it has to outlive the sessions
                self._weights[name] = ort.OrtValue.ortvalue_from_numpy(array)
            return self._weights[name]


def _name_nodes(graph: ir.Graph) -> None:
    """Gives nodes without a name one, so that what ONNX Runtime says of a node tells which."""
    nodes = list(ir.traversal.RecursiveGraphIterator(graph))
    taken = {node.name for node in nodes}
    for node in nodes:
        if not node.name and (name := next((o.name for o in node.outputs if o.name), "")) and name not in taken:
            node.name = name
            taken.add(name)


def _tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    return (v.const_value for v in model.graph.initializers.values() if v.const_value is not None)


def _goes_only_into(weight: ir.Value, op_types: frozenset[str]) -> bool:
    uses = weight.uses()
    return bool(uses) and all(use.node.op_type in op_types and not use.node.domain for use in uses)


def _elsewhere(tensor: ir.TensorProtocol, name: str) -> ir.ExternalTensor:
    """A reference that ONNX Runtime does not follow, because it is given the data with the session.

    What it computes while it loads (a product of constants) does follow it: behind every file's end nothing is found,
    and the session is refused. Bytes that are there would be taken for the weight.
    """
    shape = ir.Shape(tensor.shape.numpy())
    return ir.ExternalTensor(_PRESENT.name, _BEHIND, tensor.nbytes, tensor.dtype, shape=shape, name=name)


def execute(
    session: Session, feeds: Mapping[str, Array], device: Device, seconds: float | None = None
) -> dict[str, Tensor]:
    """Runs a session; what it gives stays in the device's memory and passes to torch by DLPack.

    Args:
        session: what is run.
        feeds: its inputs.
        device: where its outputs are wanted.
        seconds: the run is given up behind the first node that ends later; ``None`` lets it go on.

    Raises:
        PreconditionError: ONNX Runtime fails on this input.
        TimeoutError: the run was given up.
    """
    binding = session.run.io_binding()
    for name in session.inputs:
        binding.bind_cpu_input(name, np.asarray(feeds[name], order="C"))
    kind, index = device.torch.type, device.torch.index or 0
    for name in session.outputs:
        binding.bind_output(name, kind, index)
    options = ort.RunOptions()
    timer = None if seconds is None else threading.Timer(seconds, setattr, (options, "terminate", True))
    try:
        if timer is not None:
            timer.start()
        session.run.run_with_iobinding(binding, options)
    except Exception as error:  # ONNX Runtime raises a private type per status code
        if options.terminate:
            raise TimeoutError(f"the run did not end within {seconds} seconds") from error
        raise PreconditionError(f"ONNX Runtime fails on this input: {runtime_words(error)}") from error
    finally:
        if timer is not None:
            timer.cancel()
    values = binding.get_outputs()
    found = {name: _to_torch(value) for name, value in zip(session.outputs, values, strict=True)}
    return {name: t.movedim(-1, 1) if name in session.channels_last else t for name, t in found.items()}


def _to_torch(value: ort.OrtValue) -> Tensor:
    if value.data_type() == "tensor(bool)":  # ONNX Runtime exports it as bytes
        return torch.from_numpy(value.numpy())
    return torch.utils.dlpack.from_dlpack(value)
