//! The bounds of a policy's durations, for its validation and its schema alike.

use std::{ops::RangeInclusive, time::Duration};

use schemars::{Schema, SchemaGenerator};

use super::fallback::MAX_STALE;
use crate::units::duration::schema;

type Bounds = RangeInclusive<Duration>;

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

pub const TO_AN_HOUR: Bounds = MILLISECOND..=HOUR;
pub const TO_A_DAY: Bounds = MILLISECOND..=DAY;
pub const WINDOW: Bounds = Duration::from_millis(100)..=HOUR;
pub const RAMP: Bounds = Duration::ZERO..=HOUR;
pub const QUEUE_WAIT: Bounds = Duration::ZERO..=Duration::from_secs(60);
pub const STALE: Bounds = MILLISECOND..=MAX_STALE;

pub fn to_an_hour_schema(_: &mut SchemaGenerator) -> Schema {
    schema(&TO_AN_HOUR)
}

pub fn to_a_day_schema(_: &mut SchemaGenerator) -> Schema {
    schema(&TO_A_DAY)
}

pub fn window_schema(_: &mut SchemaGenerator) -> Schema {
    schema(&WINDOW)
}

pub fn ramp_schema(_: &mut SchemaGenerator) -> Schema {
    schema(&RAMP)
}

pub fn queue_wait_schema(_: &mut SchemaGenerator) -> Schema {
    schema(&QUEUE_WAIT)
}

pub fn stale_schema(_: &mut SchemaGenerator) -> Schema {
    schema(&STALE)
}
