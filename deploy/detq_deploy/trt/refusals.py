"""NVIDIA's refusals in one line each, with a remedy."""

import re

from detq_deploy.lint.findings import Finding
from detq_deploy.trt.request import Refusal

_REMEDIES = (
    (r"type Int32", "keep biases float (ONNX Runtime: extra_options QuantizeBias=False)"),
    (r"zero.?point", "quantize symmetrically, int8 with zero point 0"),
    (r"[Ss]cale coefficients", "calibrate again; scales must be positive"),
    (r"[Pp]lugin", "replace the operator, which NVIDIA's parser does not know"),
    (r"number of scales|axis", "write axis 0 for Conv, one scale for ConvTranspose"),
    (r"[Nn]o importer|[Uu]nsupported operator", "write the file for it: detq export --target"),
    (r"any implementation", "give more --workspace, or leave that layer float"),
    (r"[Pp]rofile", "give the sizes that the engine is to take: --batch, --size"),
)
_OTHERWISE = "see the findings of detq lint for this node; leave it float if there is none"

# NVIDIA's library asks for a driver that it does not need.
_NOISE = re.compile(r"\[checkMacros\.cpp.*|.*[Cc]uda ?[Dd]river.*", re.MULTILINE)
_INVALID = re.compile(r"^Invalid Node - (.*)\n?", re.MULTILINE)


def finding_from_refusal(refusal: Refusal, source: str) -> Finding:
    """NVIDIA's refusal in one line, with a remedy.

    Args:
        refusal: the parser's or the builder's.
        source: product and version that said it.
    """
    said = _NOISE.sub("", refusal.text)
    invalid = _INVALID.search(said)
    text = " ".join(_INVALID.sub("", said).split()) or "invalid, without a reason"
    remedy = next((r for pattern, r in _REMEDIES if re.search(pattern, text)), _OTHERWISE)
    operator = f"{refusal.operator}: " if refusal.operator else ""
    return Finding(
        rule="nvidia-refused",
        severity="error",
        node=refusal.node or (invalid[1] if invalid else ""),
        what=f"{operator}{text}",
        source=source,
        remedy=remedy,
    )
