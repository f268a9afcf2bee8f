//! Tests of fragment trains.

use super::*;
