"""Which function writes which class of module: the whole list."""

from collections.abc import Mapping

from detq.torch_layers import conv_bn
from detq.torch_layers.layers import LAYERS
from detq.torch_layers.writer import BlockBuilder
from yolov6_adapter import convs, csp, lite, rep, seg, sppf

BLOCKS: Mapping[str, BlockBuilder] = {
    **LAYERS,
    "ScaleLayer": rep.scale_layer,
    "Conv": conv_bn.conv_bn_act,
    "SimConv": conv_bn.conv_bn_act,
    "Conv_C3": conv_bn.conv_bn_act,
    "ConvModule": convs.conv_module,
    "ConvWrapper": convs.wrapped,
    "SimConvWrapper": convs.wrapped,
    "ConvBN": convs.wrapped,
    "ConvBNReLU": convs.wrapped,
    "ConvBNSiLU": convs.wrapped,
    "ConvBNHS": convs.wrapped,
    "Transpose": convs.transpose,
    "DPBlock": convs.dp_block,
    "SEBlock": convs.se_block,
    "RepVGGBlock": rep.rep_vgg,
    "QARepVGGBlock": rep.qa_rep_vgg,
    "QARepVGGBlockV2": rep.qa_rep_vgg_2,
    "RealVGGBlock": rep.real_vgg,
    "LinearAddBlock": rep.linear_add,
    "RepBlock": rep.rep_block,
    "BottleRep": csp.bottle_rep,
    "BottleRep3": csp.bottle_rep,
    "BepC3": csp.bep_c3,
    "MBLABlock": csp.mbla,
    "CSPBlock": csp.csp_block,
    "DarknetBlock": csp.darknet_block,
    "SPPF": sppf.sppf,
    "SimSPPF": sppf.sppf,
    "SPPFModule": sppf.sppf,
    "CSPSPPF": sppf.csp_sppf,
    "SimCSPSPPF": sppf.csp_sppf,
    "CSPSPPFModule": sppf.csp_sppf,
    "Lite_EffiBlockS1": lite.lite_s1,
    "Lite_EffiBlockS2": lite.lite_s2,
    "Proto": seg.proto,
}

# Modules that hold blocks; every other module with modules inside is a block itself.
CONTAINERS = frozenset(
    {
        "Sequential",
        "RepBlock",
        "BepC3",
        "MBLABlock",
        "CSPBlock",
        "DarknetBlock",
        "SPPF",
        "SimSPPF",
        "SPPFModule",
        "CSPSPPF",
        "SimCSPSPPF",
        "CSPSPPFModule",
        "Lite_EffiBlockS1",
        "Lite_EffiBlockS2",
        "Proto",
    }
)
