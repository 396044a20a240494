//! The card for model hubs: front matter that they read, and Markdown that people read.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::{Card, CardError, OWNER, PrivacyFacts, Usage, yaml};

/// Columns and classes that are named.
const COLUMNS_MAX: usize = 64;

/// The keys that hubs know; they ignore others.
#[derive(Serialize)]
struct FrontMatter<'a> {
    license: &'a str,
    license_name: &'a str,
    library_name: &'a str,
    pipeline_tag: &'a str,
    tags: Vec<String>,
    #[serde(rename = "model-index")]
    model_index: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    results: Vec<Outcome<'a>>,
}

#[derive(Serialize)]
struct Outcome<'a> {
    task: BTreeMap<&'a str, &'a str>,
    dataset: BTreeMap<&'a str, &'a str>,
    metrics: Vec<Figure<'a>>,
}

#[derive(Serialize)]
struct Figure<'a> {
    r#type: &'a str,
    value: f64,
}

pub(crate) fn render(card: &Card) -> Result<String, CardError> {
    // Hubs render this as HTML, so that whatever somebody else wrote goes through `plain`.
    let front_matter = front_matter(card);
    let front_matter = match card.is_of_first_format() {
        true => serde_norway::to_string(&front_matter)?,
        false => yaml::write(&serde_norway::to_value(&front_matter)?),
    };
    let mut text = format!("---\n{front_matter}---\n\n");
    let _ = write!(
        text,
        "# {}, version {}\n\n{}\n\n",
        plain(&card.model.name),
        card.model.version,
        plain(&card.privacy.statement)
    );
    if let Some(begun_with) = &card.lineage.begun_with {
        let _ = write!(text, "This run began with {}.\n\n", plain(begun_with));
    }
    let silos: Vec<String> = card.training_data.silos.iter().map(|silo| plain(&silo.name)).collect();
    let rows = [
        ("model", format!("{}, {} parameters", card.model.architecture, card.model.parameters)),
        ("parameters' digest", card.model.params_digest.to_string()),
        ("run", card.model.run.to_string()),
        ("parent record", card.lineage.parent_record.map_or("none".into(), |digest| digest.to_string())),
        ("silos that it learned from", if silos.is_empty() { "none".into() } else { silos.join(", ") }),
        ("accountant", plain(&card.privacy.accountant)),
        ("clip norm", clip_norm(&card.privacy)),
        ("transport", plain(&card.security.transport)),
        ("encrypted at rest", yes(card.security.encrypted_at_rest)),
        ("signed for public tools", yes(card.security.model_signature)),
        ("audit log", plain(&card.security.audit_log)),
    ];
    let sandboxes = card.sandboxes.iter().map(|(level, silos)| format!("{silos} {}", plain(level)));
    let sandboxes: Vec<String> = sandboxes.collect();
    let sandboxes =
        (!sandboxes.is_empty()).then(|| ("trainers held, by the silos' own word", sandboxes.join("; ")));
    text.push_str("| | |\n| --- | --- |\n");
    for (name, value) in rows.into_iter().chain(sandboxes) {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    if let Some(usage) = &card.usage {
        use_section(&mut text, usage);
    }
    text.push_str("\n## Metrics\n\n");
    if card.metrics.is_empty() {
        text.push_str("None was recorded for this version.\n");
    }
    for metric in &card.metrics {
        let interval =
            metric.interval_95.map_or(String::new(), |[low, high]| format!(" (95 %: {low:.4} to {high:.4})"));
        let _ = writeln!(
            text,
            "* {} {:.4}{interval}, over {}",
            plain(&metric.name),
            metric.value,
            plain(&metric.over)
        );
    }
    list(&mut text, "Limits", &card.limits);
    list(&mut text, "Monitoring", &card.monitoring);
    let _ = write!(
        text,
        "\n## For the owner\n\nIntended use, legal basis, impact assessment, contact, licence: {OWNER}. Everything else is\n\
         written from the run's records; `model_card.yaml` holds all of it.\n"
    );
    Ok(text)
}

fn use_section(text: &mut String, usage: &Usage) {
    let columns = usage.features.iter().take(COLUMNS_MAX).map(|feature| plain(feature.name()));
    let columns: Vec<String> = columns.collect();
    let more = usage.features.iter().skip(COLUMNS_MAX).count();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let classes: Vec<String> = usage.classes.iter().take(COLUMNS_MAX).map(|class| plain(class)).collect();
    let _ = write!(
        text,
        "\n## Use\n\n`folkmoot predict` reads this folder and a table. For code of one's own, `model_card.yaml` says in its section `use` how \
         a row's\ncolumns become numbers and what each layer does.\n\n* columns, in this order: {}{more}\n* classes of {}: {}\n",
        columns.join(", "),
        plain(&usage.label),
        classes.join(", ")
    );
}

fn front_matter(card: &Card) -> FrontMatter<'_> {
    let mut tags = vec!["federated-learning".to_owned(), "secure-aggregation".to_owned()];
    if let (Some(epsilon), Some(delta)) = (card.privacy.epsilon_spent, card.privacy.delta) {
        tags.push("differential-privacy".into());
        let epsilon = accounting::rounded_up(epsilon, 3);
        tags.push(format!("dp-epsilon-{epsilon}-delta-{delta:e}-unit-{}", card.privacy.unit));
    }
    let results = card.metrics.iter().map(|metric| Outcome {
        task: BTreeMap::from([("type", card.model.task.as_str())]),
        dataset: BTreeMap::from([("type", "private"), ("name", metric.over.as_str())]),
        metrics: vec![Figure { r#type: &metric.name, value: metric.value }],
    });
    FrontMatter {
        license: "other",
        license_name: "to-be-filled-by-the-owner",
        library_name: "safetensors",
        pipeline_tag: &card.model.task,
        tags,
        model_index: vec![Entry { name: &card.model.name, results: results.collect() }],
    }
}

fn clip_norm(privacy: &PrivacyFacts) -> String {
    match (privacy.clip_norm, privacy.clip_norm_quantile) {
        (None, _) => "none".into(),
        (Some(norm), None) => norm.to_string(),
        (Some(norm), Some(quantile)) => {
            format!("{norm} in the first round, then it follows the {quantile} quantile of the units' norms")
        }
    }
}

fn list(text: &mut String, heading: &str, items: &[String]) {
    let _ = write!(text, "\n## {heading}\n\n");
    for item in items {
        let _ = writeln!(text, "* {}", plain(item));
    }
}

fn yes(on: bool) -> String {
    if on { "yes" } else { "NO" }.into()
}

/// Text of somebody else's, so that it stays on its line and is nothing but text in Markdown and HTML.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            _ if !identity::is_printable(character) => plain.push(' '),
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            '&' => plain.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '!' | '~' => {
                plain.push('\\');
                plain.push(character);
            }
            _ => plain.push(character),
        }
    }
    plain
}
