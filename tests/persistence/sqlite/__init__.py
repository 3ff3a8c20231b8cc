"""What is the embedded engine's own: files, refusals, group commit, memory."""
