"""Which deployments serve a model's name, and what is done when one of them fails."""
