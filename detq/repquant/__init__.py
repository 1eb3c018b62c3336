"""RepQuant for transformer blocks (arXiv 2402.05628), in simulation."""

from detq.repquant.layer_norm import reparameterize_layer_norms
from detq.repquant.linear import linear_inputs, place_linear
from detq.repquant.softmax import code_softmax

__all__ = ["code_softmax", "linear_inputs", "place_linear", "reparameterize_layer_norms"]
