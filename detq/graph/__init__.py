"""An ONNX graph as the model: written, cut, run in torch, saved."""
