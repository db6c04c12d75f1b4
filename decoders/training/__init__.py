"""The training of decoders: batches, trainer, and the plan of what it will take."""
