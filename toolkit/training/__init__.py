"""SFT and GRPO on TRL's trainers. Everything here imports torch; toolkit.stages starts it in a process of its own."""
