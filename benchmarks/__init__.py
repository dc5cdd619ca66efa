"""Measurements that print ratios: each module is one, and says how it measures."""
