"""What a representation holds."""
