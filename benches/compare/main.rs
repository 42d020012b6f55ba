//! Compares odp side by side with HAProxy, MySQL Router and a bare relay, in one run.
//!
//! ```text
//! cargo bench --bench compare -- [FILTER] [--rounds N] [--seconds N] [--subjects a,b]
//!                                [--odp NAME=PATH] [--sessions N] [--restarts N] [--rest MS]
//! ```
//!
//! It starts a private MariaDB, and for every measurement a fresh proxy in front of it. Subjects
//! take turns within a round, so that what else the machine does hits all of them; figures are
//! medians of rounds, ratios are medians of the ratios within a round. Nothing is asserted. MySQL
//! Router takes part if `MYSQLROUTER` names its program or a script that runs it; `--odp` adds
//! other builds.

#[path = "../../tests/support/anybody.rs"]
mod anybody;
mod client;
mod console;
mod crowd;
mod link;
mod load;
mod machine;
mod process;
mod proxies;
mod rated;
mod relay;
mod replication;
mod report;
mod restart;
mod sessions;
mod split;
mod tls;
mod volume;

use std::process::ExitCode;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use machine::Database;
use proxies::Kind;
use report::Report;

/// Whatever went wrong, in words.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What a thread came to; a panic is an error.
fn joined<T>(thread: ScopedJoinHandle<'_, Outcome<T>>) -> Outcome<T> {
    thread.join().unwrap_or_else(|_| Err("a thread panicked".into()))
}

/// What a scenario measured of one subject: names with their units, and numbers.
type Figures = Vec<(&'static str, f64)>;

/// How much is measured at a time.
#[derive(Clone, Copy)]
pub struct Scale {
    /// How long a load is watched.
    pub window: Duration,
    /// Sessions that go through restarts.
    pub sessions: usize,
    /// How often they do.
    pub restarts: usize,
    /// What their active ones rest between two statements.
    pub rest: Duration,
}

/// What the command line asks for.
struct Options {
    filter: String,
    rounds: usize,
    scale: Scale,
    subjects: Vec<String>,
    builds: Vec<Kind>,
}

/// One thing to measure.
struct Scenario {
    name: &'static str,
    measure: fn(&Kind, &Database, Scale) -> Outcome<Figures>,
}

/// Everything that is measured, in the order of the table.
const SCENARIOS: &[Scenario] = &[
    Scenario { name: "point_select, 16 threads", measure: load::point_select_16 },
    Scenario { name: "point_select, 256 threads", measure: load::point_select_256 },
    Scenario { name: "read_write, 16 threads", measure: load::read_write_16 },
    Scenario { name: "read_write, 256 threads", measure: load::read_write_256 },
    Scenario { name: "user space, point_select, 16 threads", measure: load::user_space },
    Scenario { name: "1 GiB in rows of 1 MB", measure: volume::large_rows },
    Scenario { name: "200 MB in rows of 100 B", measure: volume::small_rows },
    Scenario { name: "5000 idle sessions", measure: sessions::idle },
    Scenario { name: "connects, 8 at once", measure: sessions::connects_8 },
    Scenario { name: "connects, 64 at once", measure: sessions::connects_64 },
    Scenario { name: "a pool of 10, 10000 queries", measure: sessions::pool_grows },
    Scenario { name: "restart", measure: restart::restart },
    Scenario { name: "TLS: queries, 16 clients", measure: tls::queries },
    Scenario { name: "TLS: 1 GiB in rows of 1 MB", measure: tls::large_result },
    Scenario { name: "TLS: handshakes, 8 at once", measure: tls::handshakes },
    Scenario { name: "restart, clients by TLS", measure: restart::restart_with_tls },
    Scenario { name: "split: point_select, 16 threads", measure: split::point_select_16 },
    Scenario { name: "split: idle sessions", measure: split::idle },
    Scenario { name: "split: 90 % reads, fixed rates", measure: split::fixed_rate },
    Scenario { name: "console: 50 proxies, 50 browsers", measure: console::overview },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, listen, target, threads] = arguments.as_slice()
        && word == relay::WORD
    {
        return relay::run(listen, target, threads);
    }
    // `cargo bench` says so; under `cargo test` there is nothing to do.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    match Options::parse(&arguments).and_then(|options| compare(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options = Self {
            filter: String::new(),
            rounds: 3,
            scale: Scale {
                window: Duration::from_secs(5),
                sessions: 4000,
                restarts: 5,
                rest: Duration::from_millis(20),
            },
            subjects: Vec::new(),
            builds: Vec::new(),
        };
        let mut words = arguments.iter().filter(|word| *word != "--bench");
        while let Some(word) = words.next() {
            if !word.starts_with("--") {
                options.filter.clone_from(word);
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word}: expected a value"))?;
            match word.as_str() {
                "--rounds" => options.rounds = value.parse()?,
                "--seconds" => options.scale.window = Duration::from_secs(value.parse()?),
                "--sessions" => options.scale.sessions = value.parse()?,
                "--restarts" => options.scale.restarts = value.parse()?,
                "--rest" => options.scale.rest = Duration::from_millis(value.parse()?),
                "--subjects" => options.subjects = value.split(',').map(str::to_owned).collect(),
                "--odp" => {
                    let (name, path) = value.split_once('=').ok_or("--odp: expected NAME=PATH")?;
                    options.builds.push(Kind::odp(name, path.into(), Some(1)));
                }
                _ => return Err(format!("{word}: unknown option").into()),
            }
        }
        Ok(options)
    }

    fn chosen(&self) -> Vec<Kind> {
        let mut kinds = Kind::all();
        kinds.extend(self.builds.iter().cloned());
        kinds.retain(|kind| self.subjects.is_empty() || self.subjects.contains(&kind.name));
        kinds
    }
}

fn compare(options: &Options) -> Outcome<()> {
    let kinds = options.chosen();
    let database = Database::start()?;
    let mut report = Report::new(machine::describe(&kinds), &kinds);
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.name.contains(&options.filter)) {
        for round in 0..options.rounds {
            for turn in 0..kinds.len() {
                let kind = &kinds[(turn + round) % kinds.len()];
                match (scenario.measure)(kind, &database, options.scale) {
                    Ok(figures) => report.add(scenario.name, &kind.name, round, figures),
                    Err(error) => eprintln!("{}: {}: {error}", scenario.name, kind.name),
                }
            }
        }
        print!("{}", report.table(scenario.name));
    }
    println!("{}", report.save()?);
    Ok(())
}
