"""Files of a person's own, row by row: CSV, TSV, JSON, JSONL, Parquet, Hugging Face datasets."""
