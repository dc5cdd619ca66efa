"""What only a developer's machine runs: the PagerDuty simulator, the AWS emulator, the demo."""
