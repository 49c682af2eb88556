"""A trained model out of its run: as an adapter, merged, as GGUF, or on the hub, and checked to be the same model."""
