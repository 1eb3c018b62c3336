"""TensorRT's half of detq tried out on one NVIDIA GPU, from ONNX files to figures in one JSON."""
