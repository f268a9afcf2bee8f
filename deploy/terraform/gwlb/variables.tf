variable "name" {
  description = "Name of everything made here."
  type        = string
  default     = "lockgate"
}

variable "vpc_id" {
  description = "The inspection VPC."
  type        = string
}

variable "subnets" {
  description = "Subnets of the inspection VPC by availability zone name, one a zone, each with its IPv4 network. GWLB nodes and instances stand in them; GWLB needs eight free addresses in each."
  type = map(object({
    id   = string
    cidr = string
  }))
}

variable "ami_id" {
  description = "Image with the lockgate package and the AWS CLI."
  type        = string
}

variable "instance_type" {
  description = "A type with jumbo frames."
  type        = string
  default     = "c7gn.xlarge"
}

variable "instances" {
  description = "Instances: at least, at most, wanted. Two a zone keep a zone's flows when one goes."
  type = object({
    min     = number
    max     = number
    desired = number
  })
  default = { min = 2, max = 6, desired = 2 }
}

variable "ruleset_uri" {
  description = "Where instances take the ruleset from, at start and then every minute: s3://bucket/folder."
  type        = string

  validation {
    condition     = startswith(var.ruleset_uri, "s3://")
    error_message = "ruleset_uri starts with s3://"
  }
}

variable "tcp_idle_seconds" {
  description = "TCP idle timeout of the listener and of the ruleset's defaults.timeouts.tcp_idle; the instance's own connection tracking follows."
  type        = number
  default     = 350

  validation {
    condition     = var.tcp_idle_seconds >= 60 && var.tcp_idle_seconds <= 6000
    error_message = "GWLB takes 60 to 6000 seconds."
  }
}

variable "drain_seconds" {
  description = "How long a leaving instance serves the flows it knows."
  type        = number
  default     = 300

  validation {
    condition     = var.drain_seconds >= 0 && var.drain_seconds <= 3600
    error_message = "A target group drains for at most 3600 seconds."
  }
}

variable "target_failover" {
  description = "no_rebalance: flows stay with a target that leaves; rebalance: they move, and are met in the middle."
  type        = string
  default     = "no_rebalance"

  validation {
    condition     = contains(["no_rebalance", "rebalance"], var.target_failover)
    error_message = "no_rebalance or rebalance"
  }
}

variable "metrics_cidrs" {
  description = "Who may read the metrics on port 9464; nobody but the instance itself where the list is empty."
  type        = list(string)
  default     = []
}

variable "session_manager" {
  description = "Whether AWS Systems Manager may open sessions on the instances, for `lockgate ctl`; the image needs its agent."
  type        = bool
  default     = true
}

variable "replace_unhealthy" {
  description = "Whether an instance that its health check calls unhealthy is terminated, not only left without new flows."
  type        = bool
  default     = false
}

variable "target_cpu_percent" {
  description = "Instances come and go so that they are this busy on average; null leaves their number alone."
  type        = number
  default     = 50
  nullable    = true
}

variable "cross_zone" {
  description = "Whether a zone's traffic may go to another zone's instances."
  type        = bool
  default     = false
}

variable "principals" {
  description = "Who may make endpoints of the service: account roots or roles."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "Tags of everything made here."
  type        = map(string)
  default     = {}
}
