"""The view of the engine that the Responses and Conversations APIs have."""
