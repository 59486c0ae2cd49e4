"""How sam3-lite came to be: words first (`text`), then places against words (`align`), then detection (`pretrain`)."""
