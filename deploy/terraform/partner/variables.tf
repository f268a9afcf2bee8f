variable "partner" {
  description = "The partner's segment in the ruleset."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]*$", var.partner))
    error_message = "Lower-case letters, digits and hyphens, as the segment is named."
  }
}

variable "service_name" {
  description = "service_name of the gwlb module."
  type        = string
}

variable "vpc_id" {
  description = "The VPC this partner arrives in."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets for the endpoints by availability zone name, one a zone."
  type        = map(string)
}

variable "ruleset_folder" {
  description = "Folder of the ruleset; the endpoint ids are written to lists/endpoints/<partner>.txt in it. Not written if empty."
  type        = string
  default     = ""
}

variable "tags" {
  description = "Tags of everything made here."
  type        = map(string)
  default     = {}
}
