//! What an OpenTelemetry Collector is told of an order by the services that had to do with it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::ledger::Ledger;
use super::stage::Stage;

/// Each call, as the caller and as the one being called tell of it.
const ORDER: &str = "gateway serves (gateway calls (order serves (\
    order calls (inventory serves), order calls (payment serves), order calls (delivery serves))))";

/// An order is one trace of all five services, and each span of it but the first has its parent in it.
pub fn an_order_is_one_trace(stage: &Stage<'_>, ledger: &Ledger) {
    let placed = stage.customer(&["order", &format!("{}:1", stage.sku)]);
    let id = placed.lines().find_map(|line| line.strip_prefix("correlation id ")).unwrap_or("(none)");
    let log = || stage.story.kubectl("logs deployment/collector --namespace=monitoring --since=5m");
    ledger.comes_to("an order is one trace", || in_words(&trace(&spans(&log()), id)), |seen| seen == ORDER);
}

/// What one service tells of one call.
struct Span {
    service: String,
    content: Value,
}

impl Span {
    fn text(&self, field: &str) -> &str {
        self.content[field].as_str().unwrap_or_default()
    }

    fn parent(&self) -> (&str, &str) {
        (self.text("traceId"), self.text("parentSpanId"))
    }

    fn id(&self) -> (&str, &str) {
        (self.text("traceId"), self.text("spanId"))
    }

    fn begun(&self) -> u64 {
        self.text("startTimeUnixNano").parse().unwrap_or_default()
    }

    /// The service, what it does, and what follows from that.
    fn in_words(&self, all: &[&Self]) -> String {
        let does = match self.content["kind"].as_u64() {
            Some(2) => "serves",
            Some(3) => "calls",
            _ => "does",
        };
        let later: Vec<String> =
            all.iter().filter(|span| span.parent() == self.id()).map(|span| span.in_words(all)).collect();
        let later = if later.is_empty() { later.concat() } else { format!(" ({})", later.join(", ")) };
        format!("{} {does}{later}", self.service)
    }
}

/// Trees of spans. One that is not below the first of its trace begins a tree of its own.
fn in_words(spans: &[&Span]) -> String {
    let known: BTreeSet<_> = spans.iter().map(|span| span.id()).collect();
    let roots = spans.iter().filter(|span| !known.contains(&span.parent()));
    roots.map(|span| span.in_words(spans)).collect::<Vec<_>>().join("; ")
}

/// All spans of every trace in which a service tells of a correlation id, by when they began.
fn trace<'a>(spans: &'a [Span], correlation: &str) -> Vec<&'a Span> {
    let tells = |span: &&Span| attribute(&span.content, "correlation_id") == Some(correlation);
    let traces: BTreeSet<&str> = spans.iter().filter(tells).map(|span| span.text("traceId")).collect();
    let mut found: Vec<&Span> = spans.iter().filter(|span| traces.contains(span.text("traceId"))).collect();
    found.sort_by_key(|span| span.begun());
    found
}

/// What the collector was sent: lines of JSON in its log.
fn spans(log: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        for resource in each(&line["resourceSpans"]) {
            let service = attribute(&resource["resource"], "service.name").unwrap_or_default();
            for content in each(&resource["scopeSpans"]).flat_map(|scope| each(&scope["spans"])) {
                spans.push(Span { service: service.to_owned(), content: content.clone() });
            }
        }
    }
    spans
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The text of an attribute.
fn attribute<'a>(of: &'a Value, key: &str) -> Option<&'a str> {
    each(&of["attributes"]).find(|attribute| attribute["key"] == key)?["value"]["stringValue"].as_str()
}
