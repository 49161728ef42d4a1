"""The use cases, and (in `ports`) what they need of the world."""
