# The queue that Stream sends to, its dead-letter queue, Stream's permission, and what the daemon's role may do: the same as
# `stream-sqsd setup` makes. The event hook at Stream is not an AWS resource: `stream-sqsd setup` adds it, and finds the queues
# made.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

locals {
  # Stream's AWS account: https://getstream.io/chat/docs/node/sqs/
  stream_account = "185583345998"
}

data "aws_partition" "current" {}

resource "aws_sqs_queue" "dead_letter" {
  name = "${var.name}-dead-letter"
  # 14 days, the longest there is. They count from when a message was first sent.
  message_retention_seconds = 1209600
  max_message_size          = 1048576
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue" "main" {
  name                       = var.name
  visibility_timeout_seconds = 60
  # Shorter than the dead-letter queue's, where the time runs on.
  message_retention_seconds = 604800
  max_message_size          = 1048576
  sqs_managed_sse_enabled   = true
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letter.arn
    maxReceiveCount     = 5
  })
}

# Not where Stream has keys of yours: then the user of these keys needs sqs:SendMessage, sqs:SendMessageBatch, sqs:GetQueueUrl
# and sqs:GetQueueAttributes.
resource "aws_sqs_queue_policy" "stream" {
  count     = var.stream_sends_by_policy ? 1 : 0
  queue_url = aws_sqs_queue.main.url
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "StreamSends"
      Effect    = "Allow"
      Principal = { AWS = "arn:${data.aws_partition.current.partition}:iam::${local.stream_account}:root" }
      Action    = "sqs:SendMessage"
      Resource  = aws_sqs_queue.main.arn
    }]
  })
}

resource "aws_iam_role_policy" "daemon" {
  count = var.role == null ? 0 : 1
  name  = "stream-sqsd"
  role  = var.role
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "StreamSqsdRun"
        Effect = "Allow"
        Action = [
          "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
          "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
        ]
        Resource = aws_sqs_queue.main.arn
      },
      {
        Sid    = "StreamSqsdDeadLetters"
        Effect = "Allow"
        Action = [
          "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
          "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:StartMessageMoveTask",
          "sqs:ListMessageMoveTasks", "sqs:CancelMessageMoveTask",
        ]
        Resource = aws_sqs_queue.dead_letter.arn
      },
    ]
  })
}
