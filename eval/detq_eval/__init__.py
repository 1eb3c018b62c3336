"""From an engine and a dataset to COCO figures; how the model was quantized is unknown here."""
