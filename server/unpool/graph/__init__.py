"""What a model IS: read from ONNX, normalised (one pass per file), its axes labelled, its layers named, its intervals computed."""
