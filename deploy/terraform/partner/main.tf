# One partner's endpoints, and the file that carries their ids into the ruleset: the partner's segment
# has `endpoints_file: lists/endpoints/<partner>.txt`. Routes to the endpoints are the caller's.

locals {
  ids = [for zone in sort(keys(var.subnet_ids)) : aws_vpc_endpoint.this[zone].id]
}

resource "aws_vpc_endpoint" "this" {
  for_each = var.subnet_ids

  service_name      = var.service_name
  vpc_endpoint_type = "GatewayLoadBalancer"
  vpc_id            = var.vpc_id
  subnet_ids        = [each.value]
  tags              = merge(var.tags, { Name = "${var.partner}-${each.key}" })
}

resource "local_file" "endpoints" {
  count = var.ruleset_folder == "" ? 0 : 1

  filename        = "${var.ruleset_folder}/lists/endpoints/${var.partner}.txt"
  file_permission = "0644"
  content         = "# GWLB endpoints of ${var.partner}, written by Terraform.\n${join("\n", local.ids)}\n"
}
