variable "name" {
  type        = string
  default     = "chat-events"
  description = "The name of the queue. Its dead-letter queue has the same, and -dead-letter behind it."

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,68}$", var.name))
    error_message = "A standard queue's name: letters, digits, - and _. Stream's hooks cannot send to a FIFO queue."
  }
}

variable "stream_sends_by_policy" {
  type        = bool
  default     = true
  description = "Whether Stream's account may send, as the hook's sqs_auth_type \"resource\" needs. False where it is \"keys\"."
}

variable "role" {
  type        = string
  default     = null
  description = "The name of the IAM role that the daemon runs as, which gets its permissions. None where you give them yourself."
}
