"""Images: data sets by name, drawn scenes with ground truth, transforms, batches."""
