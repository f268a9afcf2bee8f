# Instances, and how they come and go: an instance that is to be terminated drains first.

locals {
  group = "${var.name}-instances"
  # Longer than a drain: deadline, the unit's own margin, and the call that ends the hook.
  hook_seconds = var.drain_seconds + 120
}

resource "aws_launch_template" "this" {
  name_prefix            = "${var.name}-"
  image_id               = var.ami_id
  instance_type          = var.instance_type
  update_default_version = true
  tags                   = var.tags

  iam_instance_profile {
    arn = aws_iam_instance_profile.this.arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  network_interfaces {
    device_index    = 0
    security_groups = [aws_security_group.instances.id]

    # Else the interface forgets flows that the listener still has, and drops them in silence.
    connection_tracking_specification {
      tcp_established_timeout = var.tcp_idle_seconds
      udp_stream_timeout      = 180
      udp_timeout             = 60
    }
  }

  user_data = base64encode(templatefile("${path.module}/user-data.sh.tftpl", {
    group           = local.group
    gateways        = join(", ", local.gateways)
    ruleset_uri     = var.ruleset_uri
    target_failover = var.target_failover
    drain_seconds   = var.drain_seconds
    metrics_listen  = length(var.metrics_cidrs) > 0 ? "0.0.0.0:9464" : "127.0.0.1:9464"
  }))

  tag_specifications {
    resource_type = "instance"
    tags          = merge(var.tags, { Name = var.name })
  }
}

resource "aws_autoscaling_group" "this" {
  name                = local.group
  min_size            = var.instances.min
  max_size            = var.instances.max
  desired_capacity    = var.instances.desired
  vpc_zone_identifier = local.subnet_ids
  target_group_arns   = [aws_lb_target_group.this.arn]
  # A target that is unhealthy gets no new flows. Only where it is wanted it is replaced too: an instance
  # that overload makes unhealthy would leave its load to the others.
  health_check_type         = var.replace_unhealthy ? "ELB" : "EC2"
  health_check_grace_period = 60

  launch_template {
    id      = aws_launch_template.this.id
    version = aws_launch_template.this.latest_version
  }

  # With the group, so that no instance ever leaves without it.
  initial_lifecycle_hook {
    name                 = "drain"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_TERMINATING"
    default_result       = "CONTINUE"
    heartbeat_timeout    = local.hook_seconds
  }

  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = 100
      auto_rollback          = true
    }
  }

  lifecycle {
    ignore_changes = [desired_capacity]
  }
}

resource "aws_autoscaling_policy" "cpu" {
  count                  = var.target_cpu_percent == null ? 0 : 1
  name                   = "${var.name}-cpu"
  autoscaling_group_name = aws_autoscaling_group.this.name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value = var.target_cpu_percent

    predefined_metric_specification {
      predefined_metric_type = "ASGAverageCPUUtilization"
    }
  }
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_partition" "this" {}

data "aws_iam_policy_document" "instance" {
  statement {
    sid       = "EndTheDrainHook"
    actions   = ["autoscaling:CompleteLifecycleAction"]
    resources = ["arn:${data.aws_partition.this.partition}:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/${local.group}"]
  }

  statement {
    sid       = "ListTheRuleset"
    actions   = ["s3:ListBucket"]
    resources = ["arn:${data.aws_partition.this.partition}:s3:::${split("/", trimprefix(var.ruleset_uri, "s3://"))[0]}"]
  }

  statement {
    sid       = "ReadTheRuleset"
    actions   = ["s3:GetObject"]
    resources = ["arn:${data.aws_partition.this.partition}:s3:::${trimsuffix(trimprefix(var.ruleset_uri, "s3://"), "/")}/*"]
  }
}

resource "aws_iam_role" "this" {
  name_prefix        = "${var.name}-"
  assume_role_policy = data.aws_iam_policy_document.assume.json
  tags               = var.tags
}

resource "aws_iam_role_policy" "this" {
  name_prefix = "${var.name}-"
  role        = aws_iam_role.this.id
  policy      = data.aws_iam_policy_document.instance.json
}

# The way in: `aws ssm start-session`, and `lockgate ctl` there. No port is open for it.
resource "aws_iam_role_policy_attachment" "session_manager" {
  count      = var.session_manager ? 1 : 0
  role       = aws_iam_role.this.name
  policy_arn = "arn:${data.aws_partition.this.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "this" {
  name_prefix = "${var.name}-"
  role        = aws_iam_role.this.name
  tags        = var.tags
}
