"""The same question to whole folders: `run` (the verb), `journal` (what is done already), `tables` (COCO and CSV)."""
