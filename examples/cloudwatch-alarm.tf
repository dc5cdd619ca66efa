# A CloudWatch alarm that pages and resolves. alert_topic_arn is the output AlertTopicArn of the publisher's stack:
#   terraform apply -var alert_topic_arn=arn:aws:sns:eu-west-1:123456789012:pagerduty-publisher-AlertTopic -var function_name=checkout
variable "alert_topic_arn" {
  type = string
}

variable "function_name" {
  type = string
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${var.function_name}-errors"
  alarm_description   = "The function fails"
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = var.function_name }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.alert_topic_arn]
  ok_actions          = [var.alert_topic_arn]
}
