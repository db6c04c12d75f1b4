"""What a training will take: arithmetic, memory and hours, before it starts."""
