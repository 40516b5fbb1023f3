//! `ringfence reference`: the API reference, from the schemas of the CustomResourceDefinitions.

use std::fmt::Write;

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};
use ringfence_core::api::Reason;

/// The reference as Markdown.
pub(super) fn markdown() -> Result<String> {
    let mut text = String::from(
        "# API reference\n\nGenerated from the Rust types by `make generate`; `kubectl explain` says the same.\n",
    );
    for crd in super::crds::definitions() {
        let version = crd.spec.versions.first().context("a kind without a version")?;
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let schema = schema.context("a kind without a schema")?;
        let names = &crd.spec.names;
        let short = names.short_names.iter().flatten().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        write!(
            text,
            "\n## {}\n\n`{}/{}`, {}, short name {short}\n\n{}\n",
            names.kind,
            crd.spec.group,
            version.name,
            crd.spec.scope.to_lowercase(),
            plain(schema)
        )?;
        text.push_str("\n| field | type | meaning |\n|---|---|---|\n");
        for part in ["spec", "status"] {
            if let Some(schema) = schema.properties.as_ref().and_then(|properties| properties.get(part)) {
                fields(&mut text, part, schema)?;
            }
        }
    }
    text.push_str("\n## Reasons\n\nThe same words in conditions, events and the command line.\n\n| reason | meaning |\n|---|---|\n");
    for (reason, meaning) in Reason::ALL {
        writeln!(text, "| `{reason}` | {} |", meaning.trim())?;
    }
    Ok(text)
}

fn fields(text: &mut String, path: &str, schema: &JSONSchemaProps) -> Result<()> {
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let (kind, inner) = kind(field);
        let required = schema.required.iter().flatten().any(|required| required == name);
        let mut notes = vec![plain(field)];
        notes.extend(bounds(field));
        notes.extend(
            field
                .x_kubernetes_validations
                .iter()
                .flatten()
                .filter_map(|rule| rule.message.clone())
                .map(|m| format!("Rule: {m}.")),
        );
        let star = if required { " (required)" } else { "" };
        writeln!(text, "| `{path}`{star} | {kind} | {} |", notes.join(" ").trim())?;
        if name != "conditions" {
            fields(text, &path, inner)?;
        }
    }
    Ok(())
}

/// The type in a word, and the schema whose fields come next.
fn kind(schema: &JSONSchemaProps) -> (String, &JSONSchemaProps) {
    if schema.x_kubernetes_int_or_string == Some(true) {
        return ("integer or string".to_owned(), schema);
    }
    let words = schema.enum_.as_ref().map(|values| {
        let values = values.iter().filter(|value| !value.0.is_null());
        values.map(|value| format!("`{}`", value.0.as_str().unwrap_or_default())).collect::<Vec<_>>().join(", ")
    });
    if let Some(words) = words {
        return (words, schema);
    }
    match (schema.type_.as_deref(), &schema.items) {
        (Some("array"), Some(JSONSchemaPropsOrArray::Schema(items))) => {
            let (inner, schema) = kind(items);
            (format!("list of {inner}"), schema)
        }
        (Some(type_), _) => (type_.to_owned(), schema),
        (None, _) => ("any".to_owned(), schema),
    }
}

fn bounds(schema: &JSONSchemaProps) -> Option<String> {
    let default = schema.default.as_ref().map(|default| format!("Default `{}`.", default.0));
    let range = match (schema.minimum, schema.maximum) {
        (Some(low), Some(high)) => Some(format!("From {low} to {high}.")),
        _ => None,
    };
    let items = schema.max_items.map(|most| format!("At most {most}."));
    let length = schema.max_length.map(|most| format!("At most {most} characters."));
    let all: Vec<String> = [default, range, items, length].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(" "))
}

fn plain(schema: &JSONSchemaProps) -> String {
    let text = schema.description.as_deref().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
    // What stands in angle brackets would be taken for HTML, but not in code.
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(at, part)| if at % 2 == 0 { part.replace('<', "&lt;") } else { part.to_owned() });
    parts.collect::<Vec<_>>().join("`")
}
