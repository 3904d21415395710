"""dlax: decentralized learning in JAX."""
