# Deploys the publisher from a release: download its files into one folder, or run `make package`, which makes dist/.
#   terraform apply -var release=../../dist -var name=0.1.0 -var bucket=my-releases -var operator_email=ops@example.com
variable "release" { type = string }
variable "name" { type = string }
variable "bucket" { type = string }
variable "operator_email" { type = string }
variable "parameters" {
  type    = map(string)
  default = {} # any parameter of the template
}

data "aws_s3_bucket" "releases" { bucket = var.bucket }

resource "aws_s3_object" "release" {
  for_each    = setunion(fileset(var.release, "*.zip"), ["template.yaml"])
  bucket      = var.bucket
  key         = "pagerduty-publisher/${var.name}/${each.key}"
  source      = "${var.release}/${each.key}"
  source_hash = filesha256("${var.release}/${each.key}")
}

resource "aws_cloudformation_stack" "publisher" {
  name         = "pagerduty-publisher"
  template_url = "https://${data.aws_s3_bucket.releases.bucket_regional_domain_name}/${aws_s3_object.release["template.yaml"].key}"
  capabilities = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
  parameters = merge(var.parameters, {
    CodeBucket    = var.bucket
    CodePrefix    = "pagerduty-publisher/${var.name}/"
    OperatorEmail = var.operator_email
  })
  depends_on = [aws_s3_object.release]
}

output "alert_topic_arn" { value = aws_cloudformation_stack.publisher.outputs["AlertTopicArn"] }
