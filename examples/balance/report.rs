//! The result: percentiles of each policy on each fleet, as a table in Markdown and as a plot in SVG.

use std::fmt::Write as _;

use crate::replay::Outcome;

/// What one policy did on one fleet, over all seeds.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub policy: &'static str,
    /// Seconds.
    pub first_token: [f64; 3],
    /// Seconds.
    pub total_p99: f64,
    /// Share of the requests that a backend failed.
    pub failures: f64,
}

/// All policies on one fleet.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub fleet: &'static str,
    /// Its requests have beginnings in common, and its servers keep them.
    pub shares_prompts: bool,
    pub figures: Vec<Figures>,
}

fn percentile(sorted: &[f64], q: f64) -> f64 {
    sorted.len().checked_sub(1).map_or(f64::NAN, |last| sorted[(q * last as f64).round() as usize])
}

impl Figures {
    pub(crate) fn new(policy: &'static str, outcomes: &[Outcome]) -> Self {
        let sorted = |value: fn(&Outcome) -> f64| {
            let mut all: Vec<_> = outcomes.iter().filter(|outcome| outcome.total > 0.0).map(value).collect();
            all.sort_unstable_by(f64::total_cmp);
            all
        };
        let (first, total) = (sorted(|outcome| outcome.first_token), sorted(|outcome| outcome.total));
        let failed = outcomes.iter().filter(|outcome| outcome.failed).count();
        Self {
            policy,
            first_token: [0.5, 0.95, 0.99].map(|q| percentile(&first, q)),
            total_p99: percentile(&total, 0.99),
            failures: failed as f64 / outcomes.len().max(1) as f64,
        }
    }
}

/// Greenroom's names among the policies: as it is by default, and with prefix affinity.
pub(crate) const OWN: [&str; 2] = ["Greenroom", "Greenroom, prefix affinity"];

/// A figure's name and how it is read.
type Measure = (&'static str, fn(&Figures) -> f64);

const COMPARED: [Measure; 2] = [("TTFT p99", |f| f.first_token[2]), ("total p99", |f| f.total_p99)];

impl Section {
    fn of(&self, policy: &str) -> Option<&Figures> {
        self.figures.iter().find(|figures| figures.policy == policy)
    }

    /// A policy's figure over the best rival's and over the oracle's.
    fn standing(&self, policy: &str, measure: fn(&Figures) -> f64) -> Option<(f64, f64)> {
        let ours = measure(self.of(policy)?);
        let rivals = self.figures.iter().filter(|f| !OWN.contains(&f.policy) && f.policy != "oracle").map(measure);
        Some((ours / rivals.fold(f64::INFINITY, f64::min), ours / measure(self.of("oracle")?)))
    }
}

/// Markdown: a table a fleet, and where Greenroom stands.
pub(crate) fn markdown(sections: &[Section], about: &str) -> String {
    let mut text = format!("{about}\n");
    let mut standings = String::from(
        "\n## Greenroom beside the best rival and the oracle\n\n| fleet | TTFT p99: to the best rival | to the oracle \
         | total p99: to the best rival | to the oracle | failures |\n| --- | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for section in sections {
        let _ = write!(
            text,
            "\n## {}\n\n| policy | TTFT p50 s | p95 | p99 | total p99 s | failures |\n\
             | --- | ---: | ---: | ---: | ---: | ---: |\n",
            section.fleet
        );
        for f in &section.figures {
            let [p50, p95, p99] = f.first_token;
            let (total, failures) = (f.total_p99, f.failures * 100.0);
            let _ = writeln!(text, "| {} | {p50:.3} | {p95:.3} | {p99:.3} | {total:.2} | {failures:.2} % |", f.policy);
        }
        // An affinity is for prompts that have something in common.
        for policy in OWN.into_iter().take(if section.shares_prompts { 2 } else { 1 }) {
            let _ = write!(standings, "| {}{} |", section.fleet, policy.trim_start_matches(OWN[0]));
            for (_, measure) in COMPARED {
                if let Some((rival, oracle)) = section.standing(policy, measure) {
                    let _ = write!(standings, " {rival:.2} | {oracle:.2} |");
                }
            }
            let failures = section.of(policy).map_or(f64::NAN, |f| f.failures * 100.0);
            let _ = writeln!(standings, " {failures:.2} % |");
        }
    }
    text + &standings
}

/// SVG: a panel a fleet, a line a policy; both p99 as multiples of the oracle's, on a logarithmic scale.
pub(crate) fn svg(sections: &[Section]) -> String {
    const WIDTH: usize = 880;
    const PANEL: usize = 440;
    const ROW: usize = 17;
    const LABELS: usize = 180;
    let rows = sections.first().map_or(0, |section| section.figures.len());
    let height = ROW * (rows + 3);
    let whole = height * sections.len().div_ceil(2) + 30;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{whole}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"10\" y=\"18\">p99 as a \
         multiple of the oracle's: <tspan fill=\"#1f77b4\">● time to first token</tspan>  \
         <tspan fill=\"#d62728\">◆ whole answer</tspan></text>\n"
    );
    for (index, section) in sections.iter().enumerate() {
        let (left, top) = ((index % 2) * PANEL, 30 + (index / 2) * height);
        let _ =
            writeln!(out, "<text x=\"{}\" y=\"{}\" font-weight=\"bold\">{}</text>", left + 10, top + 14, section.fleet);
        let Some(oracle) = section.of("oracle") else { continue };
        // From 0.8 to 30 times the oracle; what is beyond stands at the edge.
        let x = |ratio: f64| {
            let share = (ratio.clamp(0.8, 30.0) / 0.8).ln() / (30.0_f64 / 0.8).ln();
            (left + LABELS) as f64 + share * (PANEL - LABELS - 20) as f64
        };
        let bottom = top + ROW * (rows + 1) + 8;
        for tick in [1.0, 2.0, 5.0, 10.0, 30.0] {
            let at = x(tick);
            let _ = writeln!(
                out,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#777\">{tick}×</text>",
                top + 20,
                bottom + 12
            );
        }
        for (row, figures) in section.figures.iter().enumerate() {
            let y = top + ROW * (row + 2);
            let weight = if OWN.contains(&figures.policy) { " font-weight=\"bold\"" } else { "" };
            let first = x(figures.first_token[2] / oracle.first_token[2]);
            let total = x(figures.total_p99 / oracle.total_p99);
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\"{weight}>{}</text>\
                 <circle cx=\"{first:.1}\" cy=\"{y}\" r=\"4\" fill=\"#1f77b4\"/>\
                 <path d=\"M{total:.1} {} l4 4 l-4 4 l-4 -4 z\" fill=\"#d62728\"/>",
                left + LABELS - 10,
                y + 4,
                figures.policy,
                y - 4
            );
        }
    }
    out + "</svg>\n"
}
