"""Models for other programs: networks as ONNX graphs, and the likelihood that they are a part of as JSON."""
