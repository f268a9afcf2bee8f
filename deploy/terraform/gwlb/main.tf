# A Gateway Load Balancer whose targets run lockgate, and the endpoint service partners' endpoints
# are made of.

locals {
  subnet_ids = [for subnet in var.subnets : subnet.id]
  gateways   = [for subnet in var.subnets : subnet.cidr]
}

resource "aws_lb" "this" {
  name                             = var.name
  load_balancer_type               = "gateway"
  subnets                          = local.subnet_ids
  enable_cross_zone_load_balancing = var.cross_zone
  tags                             = var.tags
}

resource "aws_lb_target_group" "this" {
  name                 = var.name
  port                 = 6081
  protocol             = "GENEVE"
  target_type          = "instance"
  vpc_id               = var.vpc_id
  deregistration_delay = var.drain_seconds
  tags                 = var.tags

  health_check {
    protocol            = "HTTP"
    port                = "8080"
    path                = "/health"
    matcher             = "200"
    interval            = 5
    timeout             = 2
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }

  # GWLB wants both alike.
  target_failover {
    on_deregistration = var.target_failover
    on_unhealthy      = var.target_failover
  }
}

resource "aws_lb_listener" "this" {
  load_balancer_arn        = aws_lb.this.arn
  tcp_idle_timeout_seconds = var.tcp_idle_seconds
  tags                     = var.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }
}

resource "aws_vpc_endpoint_service" "this" {
  acceptance_required        = false
  allowed_principals         = var.principals
  gateway_load_balancer_arns = [aws_lb.this.arn]
  tags                       = merge(var.tags, { Name = var.name })
}

# GENEVE carries no authentication: only the load balancer's subnets may send it.
resource "aws_security_group" "instances" {
  name        = "${var.name}-instances"
  description = "GENEVE and health checks from the subnets of the load balancer"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-instances" })

  ingress {
    description = "GENEVE"
    protocol    = "udp"
    from_port   = 6081
    to_port     = 6081
    cidr_blocks = local.gateways
  }

  ingress {
    description = "Health"
    protocol    = "tcp"
    from_port   = 8080
    to_port     = 8080
    cidr_blocks = local.gateways
  }

  dynamic "ingress" {
    for_each = length(var.metrics_cidrs) > 0 ? [1] : []

    content {
      description = "Metrics"
      protocol    = "tcp"
      from_port   = 9464
      to_port     = 9464
      cidr_blocks = var.metrics_cidrs
    }
  }

  egress {
    description = "GENEVE answers, and the APIs an instance asks"
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}
