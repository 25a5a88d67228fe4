"""Losses on disk: one Parquet file per checkpoint and shard ↔ Trajectories."""
