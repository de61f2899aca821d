output "queue_url" {
  value       = aws_sqs_queue.main.url
  description = "For `url` in the section [queue] of the configuration."
}

output "queue_arn" {
  value       = aws_sqs_queue.main.arn
  description = "The ARN of the queue."
}

output "dead_letter_queue_url" {
  value       = aws_sqs_queue.dead_letter.url
  description = "The URL of the dead-letter queue."
}
