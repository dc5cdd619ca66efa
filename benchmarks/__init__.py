"""Measurements that print ratios: each module is one, and explains how it measures."""
