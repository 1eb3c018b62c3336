"""Operators that NVIDIA's ONNX parser knows, by TensorRT version.

Read from ``docs/operators.md`` of onnx-tensorrt at the releases named; the lists only grow.
Later releases than 10.1 are taken to know at least what 10.1 knew.
"""

_NAMES = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization
Cast Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum
DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten
Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
Greater GreaterOrEqual HardSigmoid Identity If ImageScaler InstanceNormalization IsNaN LRN
LSTM LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization LpPool MatMul Max MaxPool
Mean Min Mul Neg NonMaxSuppression Not Or PRelu Pad ParametricSoftplus Pow QuantizeLinear RNN
RandomUniform RandomUniformLike Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence
Round ScaledTanh Scan Scatter ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh
Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh
ThresholdedRelu Tile TopK Transpose Unsqueeze Upsample Where Xor
"""
_TRT_8_4 = frozenset(_NAMES.split())
_TRT_8_5 = _TRT_8_4 | {
    "GridSample", "MeanVarianceNormalization", "NonZero", "RandomNormal", "RandomNormalLike",
    "Reciprocal", "RoiAlign", "Trilu",
}  # fmt: skip
_TRT_8_6 = _TRT_8_5 | {
    "GroupNormalization", "HardSwish", "IsInf", "LayerNormalization", "Mod", "OneHot",
}  # fmt: skip
_TRT_10 = _TRT_8_6 | {"CastLike", "DeformConv", "Gelu", "Hardmax", "Mish"}

OPERATORS = {"8.4": _TRT_8_4, "8.5": _TRT_8_5, "8.6": _TRT_8_6, "10": _TRT_10}
