//! What a scrape reads off the world.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use ringfence_core::api::Reason;

use crate::controller::context::Context;
use crate::controller::malformed;

/// Looks at the world when Prometheus does.
pub(super) struct Scrape(pub(super) Arc<OnceLock<Weak<Context>>>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").finish_non_exhaustive()
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(context) = self.0.get().and_then(Weak::upgrade) else { return Ok(()) };
        let now = context.clock.now();
        let mut census = context.world().census(now);
        // They are left out of the world.
        for kind in malformed::kinds(&context) {
            *census.not_ready.entry((kind, Reason::Invalid)).or_default() += 1;
        }
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let leads = ConstGauge::new(i64::from(context.leads()));
        let help = "Whether this replica leads: 1 or 0";
        leads.encode(encoder.encode_descriptor("leader", help, None, MetricType::Gauge)?)?;
        let mut gauges = Gauges(&mut encoder);
        gauges.write(
            "objects",
            "Objects that are known, by kind",
            census.objects.iter().map(|(kind, objects)| ([("kind", *kind)], count(*objects))),
        )?;
        gauges.write(
            "expiry_timestamp_seconds",
            "When the first certificate of a TrustDomain ends: of a service (leaf), its issuing CA, or the root",
            census
                .expiry
                .iter()
                .map(|((kind, domain), time)| ([("kind", *kind), ("domain", domain.as_str())], time.as_second())),
        )?;
        gauges.write(
            "overdue_certificates",
            "Certificates that should have been renewed long ago",
            census.overdue.iter().map(|(domain, overdue)| ([("domain", domain.as_str())], count(*overdue))),
        )?;
        let longest = census.longest_overdue.iter();
        let longest: Vec<_> = longest.map(|(since, key)| (key.to_string(), since.as_second())).collect();
        gauges.write(
            "longest_overdue_timestamp_seconds",
            "When the certificates that are overdue for longest should have been renewed",
            longest.iter().map(|(identity, since)| ([("identity", identity.as_str())], *since)),
        )?;
        gauges.write(
            "edges",
            "What is open, from the callers of one TrustDomain to the callees of another",
            census
                .edges
                .iter()
                .map(|((from, to), edges)| ([("from", from.as_str()), ("to", to.as_str())], count(*edges))),
        )?;
        gauges.write(
            "not_ready",
            "Objects that are not ready, by reason",
            census
                .not_ready
                .iter()
                .map(|((kind, reason), objects)| ([("kind", *kind), ("reason", reason.as_str())], count(*objects))),
        )?;
        gauges.write(
            "refused_entries",
            "Entries of AccessPolicies that are refused, by reason",
            census.refused_entries.iter().map(|(reason, entries)| ([("reason", reason.as_str())], count(*entries))),
        )?;
        gauges.write(
            "queue_units",
            "What there is to look at",
            context.queue.depth().map(|(state, units)| ([("state", state)], count(units))),
        )
    }
}

/// Writes families of gauges.
struct Gauges<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Gauges<'_, '_> {
    fn write<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in series {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
