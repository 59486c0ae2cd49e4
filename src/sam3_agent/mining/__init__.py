"""Mining an inbox of any size: planned into shards, each done exactly once, put together the same way every time."""
