"""The regression gate: scores of a run against a baseline file, by the rules of gates.toml."""
