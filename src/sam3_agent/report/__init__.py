"""A finished run in words, figures and pictures: one page, one table, and the parts the notebook uses."""
