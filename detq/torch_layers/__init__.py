"""The layers of torch.nn, and what anchor-free heads share, as graph nodes."""
