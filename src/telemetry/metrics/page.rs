//! What one reading of the metrics is written with.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use super::Histogram;

/// Label names and values of one sample.
pub(super) type Row<'a, const N: usize> = [(&'static str, &'a str); N];

/// Writes metric families. A name gets its unit appended, and a counter `_total`.
pub(super) struct Page<'a>(pub DescriptorEncoder<'a>);

impl Page<'_> {
    /// Whole numbers, or seconds and other measures that are not.
    pub fn counters<'r, const N: usize, V: EncodeCounterValue>(
        &mut self,
        (name, unit): (&str, Option<Unit>),
        help: &str,
        rows: impl IntoIterator<Item = (Row<'r, N>, V)>,
    ) -> fmt::Result {
        let unit = unit.as_ref();
        let kind = MetricType::Counter;
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in rows {
            let mut sample = family.encode_family(&labels)?;
            sample.encode_counter::<NoLabelSet, V, u64>(&value, None)?;
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
