output "endpoint_ids" {
  description = "The partner's GWLB endpoints, in the order of their zones."
  value       = local.ids
}

output "endpoint_id_by_zone" {
  description = "For route tables: traffic of a zone goes to the endpoint in that zone."
  value       = { for zone, endpoint in aws_vpc_endpoint.this : zone => endpoint.id }
}
