"""NVIDIA's builders: an ONNX file becomes a plan, and its layer table is read."""
