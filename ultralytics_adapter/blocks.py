"""Which function writes which class of module: the whole list."""

from collections.abc import Mapping

from detq.torch_layers.conv_bn import conv_bn_act
from detq.torch_layers.layers import LAYERS
from detq.torch_layers.writer import BlockBuilder
from ultralytics_adapter import convs, csp

BLOCKS: Mapping[str, BlockBuilder] = {
    **LAYERS,
    "Conv": conv_bn_act,
    "DWConv": conv_bn_act,
    "ConvTranspose": convs.conv_transpose,
    "RepConv": convs.rep_conv,
    "RepVGGDW": convs.rep_vgg_dw,
    "Bottleneck": csp.bottleneck,
    "C2f": csp.c2f,
    "C3": csp.c3,
    "SPPF": csp.sppf,
}

# Modules that hold blocks; every other module with modules inside is a block itself.
CONTAINERS = frozenset({"Sequential", "C2f", "C3", "SPPF"})
