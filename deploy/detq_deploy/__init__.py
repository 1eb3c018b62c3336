"""Runs ONNX somewhere: targets, engines, latency. Knows neither COCO nor YOLOv6."""
