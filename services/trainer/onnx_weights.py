"""Stores the weights of an ONNX graph in float16, at half its size.

The graph still computes in float32: a Cast stands behind each halved initializer, under the name
that the initializer had. Engines fold it when they load the graph.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LEAST_ELEMENTS = 1024
"""Smaller tensors, biases above all, stay float32: they hold no size worth their rounding."""


def halve_weights(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a graph with its large float32 initializers in float16.

    A weight beyond the range of float16 becomes infinite; the parity check finds that.
    """
    halved = onnx.ModelProto()
    halved.CopyFrom(graph)
    casts = []
    for initializer in halved.graph.initializer:
        if initializer.data_type != TensorProto.FLOAT or np.prod(initializer.dims) < LEAST_ELEMENTS:
            continue
        name, stored = initializer.name, f"{initializer.name}_float16"
        with np.errstate(over="ignore"):
            values = numpy_helper.to_array(initializer).astype(np.float16)
        initializer.CopyFrom(numpy_helper.from_array(values, stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *halved.graph.node]
    del halved.graph.node[:]
    halved.graph.node.extend(nodes)
    return halved
