"""Pictures: data sets by name, drawn scenes with ground truth, transforms, demo images."""
