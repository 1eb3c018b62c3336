from pathlib import Path

import pytest

from detq_deploy.nvidia.kernel import Kernel, Tensor
from detq_deploy.nvidia.layer_table import kernels_from_log

LOG = """Engine generation completed in 1.7 seconds.
Layers:
Name: __myl_MulMinMaxRounCastConc_myl0_0, LayerType: kgen, Inputs: [ { Name: images, Dimensions: [1,3,8,8], Strides: [192,64,8,1], StrideOrder: [3,2,1,0], Datatype: Float, Format: (Linear) Row major linear format }], Constants: [ { Name: c, Dimensions: [1], Strides: [1], StrideOrder: [0], Datatype: Float, Format: (Linear) Row major linear format }], Outputs: [ { Name: codes, Dimensions: [1,4,8,8], Strides: [256,1,32,4], StrideOrder: [3,0,2,1], Datatype: Int8, Format: (NHWC) Channel major format }], TacticName: x, StreamId: 0, Metadata: [ONNX Layer: images.quantize]\x1f[ONNX Layer: a[0].conv]
Name: a[0].conv_U2_myl0_1, LayerType: correlation, Inputs: [ { Name: codes, Dimensions: [1,4,8,8], Strides: [256,1,32,4], StrideOrder: [3,0,2,1], Datatype: Int8, Format: (NHWC) Channel major format }], Constants: [ { Name: w, Dimensions: [16,4,3,3], Strides: [36,1,12,4], StrideOrder: [3,0,2,1], Datatype: Int8, Format: (NHWC) Channel major format }], Outputs: [ { Name: sums, Dimensions: [1,16,8,8], Strides: [1024,1,128,16], StrideOrder: [3,0,2,1], Datatype: Half, Format: (NHWC) Channel major format }], TacticName: y, StreamId: 0, Metadata: [ONNX Layer: a[0].conv]\x1f[ONNX Layer: w.dequantize]

I/O Tensors:
 Name: images, IOMode: Input, DataType: Float
"""  # noqa: E501 - as NVIDIA writes it


NHWC = "(NHWC) Channel major format"


def test_a_table_is_read() -> None:
    first, second = kernels_from_log(LOG)
    assert second == Kernel(
        "a[0].conv_U2_myl0_1",
        "correlation",
        (Tensor("codes", (1, 4, 8, 8), "Int8", NHWC),),
        (Tensor("w", (16, 4, 3, 3), "Int8", NHWC),),
        (Tensor("sums", (1, 16, 8, 8), "Half", NHWC),),
        ("a[0].conv", "w.dequantize"),
    )
    assert first.nodes == ("images.quantize", "a[0].conv")
    assert (first.kind, second.kind) == ("rescale", "convolution")
    assert (first.int8, second.int8) == (False, True)
    assert first.bytes_moved == 3 * 64 * 4 + 4 + 4 * 64
    assert second.bytes_moved == 4 * 64 + 16 * 4 * 9 + 16 * 64 * 2


def test_a_log_without_a_table_has_no_kernels() -> None:
    assert kernels_from_log("[I] nothing was built\n") == ()


@pytest.mark.parametrize(
    ("name", "layer_type", "kind"),
    [
        ("__myl_MulAddReluMulMinMaxRounCast_myl0_2", "kgen", "rescale"),
        ("__myl_MoveMove_myl0_47", "kgen", "move"),
        ("__myl_CastMul_myl0_61", "kgen", "cast"),
        ("__myl_MulAddSilu_myl0_120", "kgen", "other"),
        ("__myl_MulAddReluMulMinMaxRounCastConcCorrMulAddMin_myl0_12", "kgen", "convolution"),
        ("x_U414_myl0_62", "deconv", "convolution"),
        ("x_pooling_myl0_46", "maxpool", "pool"),
        ("signal^bb1-3_myl0_4", "signal", "wait"),
    ],
)
def test_kernels_are_told_apart(name: str, layer_type: str, kind: str) -> None:
    assert Kernel(name, layer_type, (), (), (), ()).kind == kind


@pytest.mark.parametrize(
    ("file", "kernels", "convolutions", "int8"),
    [  # counted by hand when the tables were kept
        ("n320-float-sm86.txt", 80, 71, 0),
        ("n320-int8-sm86.txt", 142, 71, 69),
        ("n320-int8-sm75.txt", 208, 71, 0),
    ],
)
def test_real_tables(data: Path, file: str, kernels: int, convolutions: int, int8: int) -> None:
    found = kernels_from_log((data / "trt-layers" / file).read_text())
    assert len(found) == kernels
    assert sum(kernel.kind == "convolution" for kernel in found) == convolutions
    assert sum(kernel.int8 for kernel in found) == int8
    assert all(kernel.outputs for kernel in found)
