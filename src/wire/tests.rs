//! Whole frames through [`parse`], [`reflect`] and the answers.

use super::*;
use crate::model::{AttachmentId, EndpointId, FlowCookie, Reason};

mod answers;
mod captures;
mod frames;
mod gwlb;
mod inner;
mod random;
