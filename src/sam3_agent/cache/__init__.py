"""What has been worked out once: `results` (plans carried out), `embeddings` (pictures encoded), kept in this process
within a budget of bytes and, when configured, in Redis. Losing a cache costs time and nothing else.
"""
