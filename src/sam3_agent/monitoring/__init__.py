"""What people think of the answers, whether the pictures drift away from training, and which version is better."""
