"""Annotated batches into the data set: checked, merged, compared and versioned."""
