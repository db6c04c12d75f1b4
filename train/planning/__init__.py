"""Planning of a training: arithmetic, memory and time, before it starts."""
