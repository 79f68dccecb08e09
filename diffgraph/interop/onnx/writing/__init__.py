"""A program as an ONNX graph."""
