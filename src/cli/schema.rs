//! `ringfence access-schema`: the JSON Schema of `access.json`.

use anyhow::{Context, Result};

/// The schema, as indented JSON.
pub(super) fn access() -> Result<String> {
    let schema = serde_json::to_string_pretty(&ringfence_core::access::access_schema());
    schema.map(|text| text + "\n").context("the schema can't be written as JSON")
}
