"""SFT and GRPO on TRL's trainers. What imports torch runs in a process that toolkit.stages starts."""
