//! What one reading of the metrics is written with.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use super::Histogram;

/// Label names and values of one sample.
pub(super) type Row<'a, const N: usize> = [(&'static str, &'a str); N];

/// Writes metric families. A name gets its unit appended, and a counter `_total`.
pub(super) struct Page<'a>(pub DescriptorEncoder<'a>);

impl Page<'_> {
    pub fn counters<'r, const N: usize>(
        &mut self,
        (name, unit): (&str, Option<Unit>),
        help: &str,
        rows: impl IntoIterator<Item = (Row<'r, N>, u64)>,
    ) -> fmt::Result {
        let unit = unit.as_ref();
        let kind = MetricType::Counter;
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in rows {
            let mut sample = family.encode_family(&labels)?;
            sample.encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        Ok(())
    }

    /// A counter of seconds or another measure that is not whole.
    pub fn real_counters<'r, const N: usize>(
        &mut self,
        (name, unit): (&str, Option<Unit>),
        help: &str,
        rows: impl IntoIterator<Item = (Row<'r, N>, f64)>,
    ) -> fmt::Result {
        let unit = unit.as_ref();
        let kind = MetricType::Counter;
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in rows {
            let mut sample = family.encode_family(&labels)?;
            sample.encode_counter::<NoLabelSet, f64, u64>(&value, None)?;
        }
        Ok(())
    }

    pub fn gauges<'r, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        (name, unit): (&str, Option<Unit>),
        help: &str,
        rows: impl IntoIterator<Item = (Row<'r, N>, V)>,
    ) -> fmt::Result {
        let unit = unit.as_ref();
        let kind = MetricType::Gauge;
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in rows {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Durations in seconds.
    pub fn histograms<'r, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Row<'r, N>, &'r Histogram)>,
    ) -> fmt::Result {
        let (unit, kind) = (Unit::Seconds, MetricType::Histogram);
        let mut family = self.0.encode_descriptor(name, help, Some(&unit), kind)?;
        for (labels, histogram) in rows {
            histogram.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
