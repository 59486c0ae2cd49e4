"""Safe loading of what people send: `load_image` for pictures, `fetch_image` for their web addresses."""
