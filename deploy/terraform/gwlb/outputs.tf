output "service_name" {
  description = "What partners' endpoints are made of."
  value       = aws_vpc_endpoint_service.this.service_name
}

output "gateways" {
  description = "Networks the load balancer's nodes are in; `gateways` of the appliance."
  value       = local.gateways
}

output "target_group_arn" {
  description = "The target group, for alarms on its healthy hosts."
  value       = aws_lb_target_group.this.arn
}

output "autoscaling_group" {
  description = "The group of instances."
  value       = aws_autoscaling_group.this.name
}
