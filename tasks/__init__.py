"""What is learned: one file or folder a task. See tasks/base.py for the object, tasks/registry.py for the names."""
