"""What the gateway sends requests with: connections, proxies, forms, and which hosts callers may name."""
