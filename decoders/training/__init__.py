"""Training of decoders: batches, trainer, and the computed plan of memory and GPU-hours."""
