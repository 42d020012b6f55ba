//! The table and the file.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::proxies::{Kind, REFERENCE};
use crate::{Figures, Outcome};

/// One number.
struct Figure {
    scenario: &'static str,
    subject: String,
    round: usize,
    name: &'static str,
    value: f64,
}

/// Everything measured so far.
pub(crate) struct Report {
    machine: Vec<(String, String)>,
    subjects: Vec<String>,
    figures: Vec<Figure>,
}

impl Report {
    /// Prints what is compared.
    pub(crate) fn new(machine: Vec<(String, String)>, kinds: &[Kind]) -> Self {
        for (name, value) in &machine {
            println!("{name:<10} {value}");
        }
        let subjects = kinds.iter().map(|kind| kind.name.clone()).collect();
        Self { machine, subjects, figures: Vec::new() }
    }

    /// Keeps what a scenario found out about a subject.
    pub(crate) fn add(
        &mut self,
        scenario: &'static str,
        subject: &str,
        round: usize,
        figures: Figures,
    ) {
        self.figures.extend(figures.into_iter().map(|(name, value)| Figure {
            scenario,
            subject: subject.into(),
            round,
            name,
            value,
        }));
    }

    /// The medians of a scenario, and in brackets how they relate to the reference.
    pub(crate) fn table(&self, scenario: &str) -> String {
        let mut text = format!("\n{scenario:<38}");
        for subject in &self.subjects {
            let _ = write!(text, "{subject:>19}");
        }
        text.push('\n');
        for name in self.names(scenario) {
            let _ = write!(text, "  {name:<36}");
            for subject in &self.subjects {
                let value = median(self.values(scenario, subject, name));
                let ratio = median(self.ratios(scenario, subject, name));
                let cell = match (value, ratio) {
                    (None, _) => "-".into(),
                    (Some(value), Some(ratio)) if subject != REFERENCE => {
                        format!("{} ({ratio:.2}x)", short(value))
                    }
                    (Some(value), _) => short(value),
                };
                let _ = write!(text, "{cell:>19}");
            }
            text.push('\n');
        }
        text
    }

    /// Writes everything as JSON; says where.
    pub(crate) fn save(&self) -> Outcome<String> {
        let machine: serde_json::Map<String, Value> =
            self.machine.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let figures: Vec<Value> = self.figures.iter().map(Figure::to_json).collect();
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../bench");
        fs::create_dir_all(&directory)?;
        let path = directory.canonicalize()?.join("compare.json");
        let text = serde_json::to_string_pretty(&json!({"machine": machine, "figures": figures}))?;
        fs::write(&path, text)?;
        Ok(format!("\n{}", path.display()))
    }

    fn names(&self, scenario: &str) -> Vec<&'static str> {
        let mut names = Vec::new();
        for figure in self.figures.iter().filter(|figure| figure.scenario == scenario) {
            if !names.contains(&figure.name) {
                names.push(figure.name);
            }
        }
        names
    }

    fn of<'a>(
        &'a self,
        scenario: &'a str,
        subject: &'a str,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Figure> {
        self.figures.iter().filter(move |figure| {
            figure.scenario == scenario && figure.subject == subject && figure.name == name
        })
    }

    fn values(&self, scenario: &str, subject: &str, name: &str) -> Vec<f64> {
        self.of(scenario, subject, name).map(|figure| figure.value).collect()
    }

    /// Against the reference in the same round.
    fn ratios(&self, scenario: &str, subject: &str, name: &str) -> Vec<f64> {
        let ratio = |figure: &Figure| {
            let mut reference = self.of(scenario, REFERENCE, name);
            let reference = reference.find(|other| other.round == figure.round)?;
            (reference.value > 0.0).then(|| figure.value / reference.value)
        };
        self.of(scenario, subject, name).filter_map(ratio).collect()
    }
}

impl Figure {
    fn to_json(&self) -> Value {
        json!({
            "scenario": self.scenario,
            "subject": self.subject,
            "round": self.round,
            "figure": self.name,
            "value": self.value,
        })
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[n / 2]),
        n => Some(f64::midpoint(values[n / 2 - 1], values[n / 2])),
    }
}

fn short(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
