"""Engines that turn prompts into completions. `registry.load_engine` imports the chosen one and no other."""
