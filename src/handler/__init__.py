"""PagerDuty Publisher: an AWS Lambda function that forwards alerts to PagerDuty's Events API v2."""
