# The inspection and two partners. `lockgate init inline-dmz ruleset` starts the ruleset; its partners
# then say `endpoints_file: lists/endpoints/acme.txt` instead of `endpoints`.

variable "partners" {
  description = "VPC and subnets by partner."
  type = map(object({
    vpc_id     = string
    subnet_ids = map(string)
  }))
}

variable "inspection" {
  description = "The inspection VPC."
  type = object({
    vpc_id  = string
    subnets = map(object({ id = string, cidr = string }))
    ami_id  = string
  })
}

module "gwlb" {
  source = "../gwlb"

  vpc_id      = var.inspection.vpc_id
  subnets     = var.inspection.subnets
  ami_id      = var.inspection.ami_id
  ruleset_uri = "s3://bank-network-policy/lockgate"
}

module "partner" {
  source   = "../partner"
  for_each = var.partners

  partner        = each.key
  service_name   = module.gwlb.service_name
  vpc_id         = each.value.vpc_id
  subnet_ids     = each.value.subnet_ids
  ruleset_folder = "${path.root}/ruleset"
}

output "endpoints" {
  description = "Endpoint ids by partner."
  value       = { for name, partner in module.partner : name => partner.endpoint_ids }
}
