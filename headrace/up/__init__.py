"""`headrace up`: Redis, the API and the workers of one machine, kept alive together."""
