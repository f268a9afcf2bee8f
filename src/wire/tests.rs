//! Whole frames through [`parse`], [`reflect`] and the answers.

use super::*;
use crate::model::{AttachmentId, EndpointId, FlowCookie, Reason};

mod captures;
mod frames;
mod gwlb;
