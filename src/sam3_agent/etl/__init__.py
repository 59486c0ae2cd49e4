"""Raw folders of pictures and labels -> SA-Co pairs, checked and split: the stages etl, validate, split."""
