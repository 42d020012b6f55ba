//! Kills between single instructions of a query and its answer: before its system calls and behind
//! them, and anywhere in between.
//!
//! Single steps are slow, each death takes a new process, and there are many: some are taken at
//! random, `ODP_STEPS` says how many. With more than it has system calls, all of them are.

use std::any::Any;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use odp::wire::command::code;

use crate::campaign::Random;
use crate::scene::{Layered, Layers, Scene};
use crate::several::{Split, WHO};
use crate::support::proxy::Options;
use crate::support::{Login, Packet, Wire, may_look_into_proxies, until};
use crate::tracer::Traced;

/// What is asked, and what the answer to it is, of about a buffer's length.
const QUESTION: &str = "SELECT seq, REPEAT('x', seq % 7) FROM seq_1_to_300";

/// Longer than any query takes.
const MOST: u64 = 30_000_000;

/// So many instructions from one look at the answer to the next.
const LOOK: u64 = 500;

/// A session, and the one process that has it.
struct Stepped {
    scene: Scene,
    wire: Wire,
    /// What is to be so before it asks.
    ready: Ready,
    question: &'static str,
    /// What may be answered: as much, whoever answers it.
    expected: Vec<Vec<Packet>>,
    resumed: u64,
    _held: Box<dyn Any>,
}

/// What is to be so before a session asks.
enum Ready {
    Always,
    /// A replica is known that is to answer, and has not all of the session's state.
    Behind,
}

/// One thread, which may take its time.
fn slow(options: &mut Options) {
    options.proxy.push_str("workers = 1\n");
}

impl Stepped {
    fn start(layers: Layers) -> Option<Self> {
        if !may_look_into_proxies() {
            return None;
        }
        let layered = Layered::start_with(layers, slow)?;
        let mut wire = layered.open();
        let expected = vec![wire.run(QUESTION).packets];
        let (ready, question, (scene, _held)) = (Ready::Always, QUESTION, layered.into_scene());
        Some(Self { scene, wire, ready, question, expected, resumed: 0, _held })
    }

    /// A session whose home is asked about its state before each question.
    fn start_split() -> Option<Self> {
        if !may_look_into_proxies() {
            return None;
        }
        let Split { scene, replica, .. } = Split::start_with("causal_reads = \"session\"", slow)?;
        let mut wire = Wire::open(&scene.proxy.address(), &Login::default()).expect("clients");
        let question = "SELECT name FROM p.who WHERE @n > 0";
        let mut expected = Vec::new();
        for server in [&scene.database, &replica] {
            let mut direct = server.admin();
            direct.run("SET @n = 1");
            expected.push(direct.run(question).packets);
        }
        wire.run("SET @n = 1");
        let (ready, _held) = (Ready::Behind, Box::new(replica));
        Some(Self { scene, wire, ready, question, expected, resumed: 0, _held })
    }

    /// Has it be so.
    fn prepare(&mut self) {
        if let Ready::Behind = self.ready {
            until("a replica", || (self.wire.run(WHO).text() == "replica").then_some(()));
            self.wire.run(&format!("SET @n = {}", 2 + self.resumed));
            self.wire.run("UPDATE p.t SET n = n + 1 WHERE id = 1");
        }
    }

    /// Asks, has the proxy do that much of it, kills it, and compares the answer.
    fn die(&mut self, what: &str, go: impl FnOnce(&mut Traced)) {
        self.prepare();
        let carrier = self.scene.carrier();
        let pid = Pid::from_raw(carrier as i32);
        let mut traced = Traced::attach(pid);
        self.wire.command(code::QUERY, self.question.as_bytes());
        go(&mut traced);
        kill(pid, Signal::SIGKILL).expect("it lives");
        traced.bury();
        let found = self.wire.reply(code::QUERY).packets;
        assert!(self.expected.contains(&found), "{what}: {found:?}");
        assert!(self.wire.is_drained(), "{what}: nothing comes twice");
        let death = until(&format!("the next proxy: {what}"), || self.scene.death_of(carrier));
        assert_eq!((&death["sessions"][..], &death["resumed"][..]), ("1", "1"), "{what}");
        self.resumed += 1;
    }

    /// Of one query: its instructions, or the ends of its system calls.
    fn measure(&mut self, step: fn(&mut Traced) -> bool, look: u64) -> u64 {
        self.prepare();
        let mut traced = Traced::attach(Pid::from_raw(self.scene.carrier() as i32));
        self.wire.command(code::QUERY, self.question.as_bytes());
        let mut count = 0;
        while !(count % look == 0 && self.is_answered()) {
            assert!(count < MOST, "no answer");
            assert!(step(&mut traced), "nobody kills it");
            count += 1;
        }
        drop(traced);
        self.wire.reply(code::QUERY);
        count
    }

    /// Whether the whole answer is there to be read.
    fn is_answered(&self) -> bool {
        // As long whoever answers.
        let expected = self.expected.last().expect("an answer").iter();
        let whole: usize = expected.map(|packet| 4 + packet.payload.len()).sum();
        let tcp = self.wire.tcp();
        let mut bytes = vec![0; whole];
        tcp.set_nonblocking(true).expect("it is open");
        let there = tcp.peek(&mut bytes).unwrap_or_default();
        tcp.set_nonblocking(false).expect("it is open");
        there == whole
    }
}

/// How many steps are taken: what was asked for, or so many.
fn steps(usual: u64) -> u64 {
    std::env::var("ODP_STEPS").map_or(usual, |text| text.parse().expect("a number"))
}

#[test]
fn a_query_outlives_a_kill_at_any_of_its_system_calls() {
    let Some(stepped) = Stepped::start(Layers::Nothing) else { return };
    kill_at_calls(stepped);
}

#[test]
fn a_query_by_tls_outlives_a_kill_at_any_of_its_system_calls() {
    let Some(stepped) = Stepped::start(Layers::Tls13) else { return };
    kill_at_calls(stepped);
}

#[test]
fn a_compressed_query_outlives_a_kill_at_any_of_its_system_calls() {
    let Some(stepped) = Stepped::start(Layers::Zlib) else { return };
    kill_at_calls(stepped);
}

#[test]
fn a_read_whose_home_is_asked_first_outlives_a_kill_at_any_of_its_system_calls() {
    let Some(stepped) = Stepped::start_split() else { return };
    kill_at_calls(stepped);
}

fn kill_at_calls(mut stepped: Stepped) {
    let calls = stepped.measure(Traced::run_to_call, 1);
    // And somewhat behind the answer.
    let last = calls + 6;
    let stride = last.div_ceil(steps(20)).max(1);
    let first = 1 + Random::new(std::process::id().into(), 1).below(stride);
    for call in (first..=last).step_by(stride as usize) {
        stepped.die(&format!("call {call} of {calls}"), |traced| {
            for at in 0..call {
                // It waits for its client then, who waits for it.
                if at >= calls && traced.begins_to_wait() {
                    break;
                }
                assert!(traced.run_to_call(), "nobody kills it");
            }
        });
    }
    eprintln!("killed at {} ends of system calls", stepped.resumed);
}

#[test]
fn a_query_outlives_a_kill_at_any_of_its_instructions() {
    let Some(stepped) = Stepped::start(Layers::Nothing) else { return };
    kill_at_instructions(stepped);
}

#[test]
fn a_query_by_tls_outlives_a_kill_at_any_of_its_instructions() {
    let Some(stepped) = Stepped::start(Layers::Tls13) else { return };
    kill_at_instructions(stepped);
}

fn kill_at_instructions(mut stepped: Stepped) {
    let instructions = stepped.measure(Traced::step, LOOK);
    let seed = std::process::id().into();
    let mut random = Random::new(seed, 0);
    for _ in 0..steps(10) {
        let at = random.below(instructions);
        stepped.die(&format!("instruction {at} of {instructions}, seed {seed}"), |traced| {
            for _ in 0..at {
                assert!(traced.step(), "nobody kills it");
            }
        });
    }
    eprintln!("killed at {} of {instructions} instructions", stepped.resumed);
}
