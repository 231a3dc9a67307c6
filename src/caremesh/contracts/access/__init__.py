"""Access: each request becomes a receipt or a refusal, before anything is opened."""
