"""Label Studio, both ways: mined batches go out as tasks, corrections come back as rows and LabelMe files."""
