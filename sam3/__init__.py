"""The model: everything that touches a tensor. Knows nothing of the product around it (`sam3_agent`)."""
