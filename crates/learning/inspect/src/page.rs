//! What was found, as one page that needs no network and runs no program.

use std::collections::BTreeMap;

use crate::findings::DataFinding;
use crate::inspection::{Column, Inspection};
use crate::plot;
use crate::reading::Kind;
use crate::shown::{count, cut, html, percent};

/// Columns that are drawn: a browser is slow with more.
const DRAWN_MAX: usize = 300;
/// Findings of one kind that are listed each; those of a column stand at it too.
const OF_A_CODE_MAX: usize = 40;
/// Classes that are drawn.
const CLASSES_MAX: usize = 40;

/// Colours for light and dark, and a grid of cards that is as wide as the window.
const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fff;--card:#f6f7f9;--ink:#1c2430;--soft:#5a6675;--line:#d9dee5;--bar:#3b6fb6;--other:#a9b8cc;--alert:#a8480f;--wash:#fdf1e8}\
@media(prefers-color-scheme:dark){:root{--paper:#12161c;--card:#1b212a;--ink:#e4e9f0;--soft:#98a4b3;--line:#2f3844;--bar:#6fa3e8;--other:#4a5868;--alert:#f0a068;--wash:#2b2119}}\
*{box-sizing:border-box}body{margin:0 auto;padding:2rem 1.5rem 4rem;max-width:86rem;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}\
h1{margin:0;font-size:1.6rem;overflow-wrap:anywhere}h2{margin:2.5rem 0 .75rem;font-size:1.15rem}h3{margin:0;font-size:1rem;overflow-wrap:anywhere}\
p{margin:.35rem 0}a{color:inherit}.soft,.ends{color:var(--soft)}.stays{padding:.5rem .75rem;border-left:3px solid var(--alert);background:var(--wash)}\
.figures{display:flex;flex-wrap:wrap;gap:.5rem 2.5rem;margin:1rem 0}.figures b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}\
.findings{width:100%;border-collapse:collapse}.findings td,.findings th{padding:.4rem .75rem .4rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}\
.findings th{overflow-wrap:anywhere;min-width:7rem;max-width:16rem}.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:1rem}\
.card{padding:.9rem 1rem;border:1px solid var(--line);border-radius:8px;background:var(--card);min-width:0}.card header{display:flex;justify-content:space-between;gap:.75rem;align-items:baseline;margin-bottom:.6rem}\
.kind{flex:none;padding:0 .5em;border:1px solid var(--line);border-radius:1em;font-size:.8rem;color:var(--soft)}.card>svg{display:block;width:100%;height:auto}\
.bar{fill:var(--bar)}.other{fill:var(--other)}.axis{stroke:var(--line);stroke-width:1.5}.ends{display:flex;justify-content:space-between;margin:.1rem 0 .5rem;font-size:.8rem}\
.bars{width:100%;border-collapse:collapse;font-size:.85rem}.bars th{max-width:9rem;padding:.1rem .6rem .1rem 0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;text-align:left;font-weight:400}\
.bars td{padding:.1rem 0 .1rem .5rem}.wide{width:45%}.wide svg{display:block;width:100%;height:.8rem}.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\
.measures{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;margin:.3rem 0 0;font-size:.85rem;color:var(--soft)}.measures b{color:var(--ink);font-weight:600}.look{color:var(--alert);font-size:.85rem}\
@media print{.card{break-inside:avoid}}";

impl Inspection {
    /// One HTML page with pictures. Nothing in it is a program or comes from elsewhere, and a browser is forbidden both.
    ///
    /// # Privacy
    /// It shows categories, extremes and single cells: it belongs to the silo's operator alone.
    pub fn to_page(&self) -> String {
        let title = html(&self.title());
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        );
        page += "<p class=\"stays\">This page stays in the silo. It was made from its rows, without any noise, and shows single values of them.</p>\n";
        page += &self.figures();
        if !self.reasons.is_empty() {
            let lines: String =
                self.reasons.iter().map(|reason| format!("<li>{}</li>", html(&cut(reason, 300)))).collect();
            page += &format!(
                "<details><summary>How the files were taken to be written</summary><ul>{lines}</ul></details>\n"
            );
        }
        page += &self.balance();
        page += &self.to_look_at();
        page += &self.cards();
        page + "</body>\n</html>\n"
    }

    fn figures(&self) -> String {
        let figure = |name: &str, number: u64| format!("<div><b>{}</b>{name}</div>", count(number));
        let estimates = if self.are_sketched {
            "<p class=\"soft\">Quartiles and histograms are estimates.</p>\n"
        } else {
            ""
        };
        format!(
            "<div class=\"figures\">{}{}{}{}</div>\n{estimates}",
            figure("rows", self.rows),
            figure("columns", self.columns.len() as u64),
            figure("broken records", self.broken),
            figure("things to look at", self.findings.len() as u64)
        )
    }

    fn balance(&self) -> String {
        let Some(label) = &self.label else { return String::new() };
        let all: u64 = self.classes.iter().map(|(_, rows)| rows).sum();
        let classes = self.classes.iter().take(CLASSES_MAX).map(|(name, rows)| (cut(name, 48), *rows, "bar"));
        format!(
            "<h2>Rows of each class of {}</h2>\n<div class=\"card\">{}</div>\n",
            html(&cut(label, 64)),
            plot::bars(classes, all)
        )
    }

    fn to_look_at(&self) -> String {
        if self.findings.is_empty() {
            return "<h2>To look at</h2>\n<p>Nothing was found.</p>\n".into();
        }
        let drawn = self.columns.iter().take(DRAWN_MAX).enumerate();
        let places: BTreeMap<&str, usize> =
            drawn.map(|(place, column)| (column.name.as_str(), place)).collect();
        let about = |finding: &DataFinding| match &finding.column {
            Some(column) => match places.get(column.as_str()) {
                Some(place) => format!("<a href=\"#c{place}\">{}</a>", html(&cut(column, 64))),
                None => html(&cut(column, 64)),
            },
            None => "all rows".into(),
        };
        let (first, more) = self.first_findings(OF_A_CODE_MAX);
        let row = |head: &str, text: &str| {
            format!("<tr><th scope=\"row\">{head}</th><td>{}</td></tr>\n", html(text))
        };
        let first = first.into_iter().map(|finding| row(&about(finding), &finding.text));
        let more =
            more.into_iter().map(|(code, times)| row("", &format!("and {times} more of the kind {code}")));
        let rows: String = first.chain(more).collect();
        format!("<h2>To look at</h2>\n<table class=\"findings\">\n{rows}</table>\n")
    }

    fn cards(&self) -> String {
        let cards: String = self
            .columns
            .iter()
            .take(DRAWN_MAX)
            .enumerate()
            .map(|(place, column)| self.card(place, column))
            .collect();
        let more = match self.columns.iter().skip(DRAWN_MAX).count() {
            0 => String::new(),
            more => format!(
                "<p class=\"soft\">{} more columns are not drawn; what is to look at in them stands above.</p>\n",
                count(more as u64)
            ),
        };
        format!("<h2>Columns</h2>\n<div class=\"grid\">\n{cards}</div>\n{more}")
    }

    fn card(&self, place: usize, column: &Column) -> String {
        let measure = |name: &str, value: String| format!("<span>{name} <b>{}</b></span>", html(&value));
        let mut measures = String::new();
        if column.kind != Kind::Ignored {
            measures += &measure(
                "not known",
                format!(
                    "{} ({})",
                    count(column.missing),
                    percent(column.missing, column.known + column.missing)
                ),
            );
        }
        if let (Some([low, high]), Some([first, half, third])) = (column.range, column.quartiles()) {
            for (name, of) in
                [("lowest", low), ("25 %", first), ("median", half), ("75 %", third), ("highest", high)]
            {
                measures += &measure(name, column.shown(of));
            }
        }
        if column.word != column.name {
            measures += &measure("called", cut(&column.word, 48));
        }
        let findings = self.findings.iter().filter(|finding| finding.column.as_ref() == Some(&column.name));
        let look: String =
            findings.map(|finding| format!("<p class=\"look\">{}</p>", html(&finding.text))).collect();
        format!(
            "<article class=\"card\" id=\"c{place}\"><header><h3>{}</h3><span class=\"kind\">{}</span></header>{}<p class=\"measures\">{measures}</p>{look}</article>\n",
            html(&cut(&column.name, 64)),
            column.kind.as_str(),
            plot::of(column)
        )
    }
}
