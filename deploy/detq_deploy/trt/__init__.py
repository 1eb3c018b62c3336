"""Engines of TensorRT: built, run, inspected, measured."""
