//! `ctl api-resources`.

use crate::error::Result;
use crate::output::Output;
use crate::session::Session;
use crate::table::Table;
use crate::term;

/// Flags of `api-resources`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Only this group; empty for core
    #[arg(long)]
    pub api_group: Option<String>,
    /// Only namespaced kinds, or (=false) the others
    #[arg(long, default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    pub namespaced: Option<bool>,
    /// Only kinds with all of these verbs
    #[arg(long, value_delimiter = ',')]
    pub verbs: Vec<String>,
    /// Only kinds of all of these categories
    #[arg(long, value_delimiter = ',')]
    pub categories: Vec<String>,
    /// wide or name
    #[arg(long, short = 'o')]
    pub output: Option<Output>,
    /// No header line
    #[arg(long)]
    pub no_headers: bool,
    /// name or kind
    #[arg(long)]
    pub sort_by: Option<String>,
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let mut kinds: Vec<_> = session
        .kinds()
        .await?
        .0
        .iter()
        .filter(|kind| {
            kind.preferred
                && !kind.verbs.is_empty()
                && args.api_group.as_ref().is_none_or(|group| &kind.group == group)
                && args.namespaced.is_none_or(|namespaced| kind.namespaced == namespaced)
                && args.verbs.iter().all(|verb| kind.can(verb))
                && args.categories.iter().all(|category| kind.categories.contains(category))
        })
        .collect();
    match args.sort_by.as_deref() {
        Some("kind") => kinds.sort_by(|a, b| a.kind.cmp(&b.kind)),
        Some(_) => kinds.sort_by(|a, b| a.plural.cmp(&b.plural)),
        None => kinds.sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural))),
    }
    if args.output == Some(Output::Name) {
        kinds.iter().for_each(|kind| term::out(kind.resource()));
        return Ok(());
    }
    let wide = args.output == Some(Output::Wide);
    let mut table = Table::new();
    if !args.no_headers {
        let more: &[&str] = if wide { &["VERBS", "CATEGORIES"] } else { &[] };
        table.row(["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"].iter().chain(more).copied());
    }
    for kind in kinds {
        let mut row = vec![
            kind.plural.clone(),
            kind.short_names.join(","),
            kind.api_version(),
            kind.namespaced.to_string(),
            kind.kind.clone(),
        ];
        if wide {
            row.extend([kind.verbs.join(","), kind.categories.join(",")]);
        }
        table.row(row);
    }
    term::out(table.render());
    Ok(())
}
