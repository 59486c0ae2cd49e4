"""Conversations that outlive a restart: `state` (a conversation <-> plain data) and `store` (SQLite or Postgres)."""
