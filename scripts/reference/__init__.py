"""What is generated for the documentation and for editors; `python -m scripts.reference` writes it all."""
