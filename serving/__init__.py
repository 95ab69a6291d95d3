"""Bundles loaded, run by ONNX Runtime, and used to encode inputs of any size."""
