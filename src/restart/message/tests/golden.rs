//! Golden messages: each kind as version 1 wrote it, and what it must be for ever.
//!
//! tests/handover/vN/KIND.json is a head; the files are never edited, only added. A version that
//! adds a kind adds its line in [`expected`] and its file: `ODP_GOLDEN=2 cargo test --lib golden`
//! writes the kinds that have none yet into tests/handover/v2. One that adds a field adds nothing
//! here: the files show that it has a default.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::*;
use super::datagram;
use crate::metrics::pauses::Pauses;
use crate::restart::later::{grow, names, renamed};
use crate::restart::task::{Mode, Phase, Reached, TaskId, TaskState};

/// What the file of this kind says.
fn expected(kind: &str) -> Message {
    let reason = |text: &str| Reason { reason: text.into() };
    match kind {
        "HELLO" => Message::Hello(Hello {
            versions: Versions { min: 1, max: 1 },
            build: "0.1.0".into(),
            pid: 101,
            config_hash: "9f86d0".into(),
            nofile: 20000,
            carrier: 0,
        }),
        "REFUSE" => Message::Refuse(reason("takeover refused: state is RESTARTING, phase WARM")),
        "OFFER" => Message::Offer(Box::new(terms())),
        "LISTEN" => Message::Listen(Listen {
            names: vec!["sql 127.0.0.1:2883".into(), "http 127.0.0.1:2884".into()],
        }),
        "READY" => Message::Ready {},
        "PARCELS" => Message::Parcels(Parcels {
            parcels: vec![
                Entry { id: 2_147_483_649, fds: 2, state: 310, bytes: 0 },
                Entry { id: 2_147_483_650, fds: 2, state: 290, bytes: 17 },
            ],
        }),
        "ACKS" => Message::Acks(Acks {
            adopted: vec![2_147_483_649],
            refused: vec![Nack { id: 2_147_483_650, reason: "phase 'X' is unknown".into() }],
            lost: None,
        }),
        "GO" => Message::Go {},
        "ACCEPTED" => Message::Accepted {},
        "PROGRESS" => Message::Progress(Progress { task: task() }),
        "SEEN" => Message::Seen {},
        "NOTE" => Message::Note {},
        "FORCE" => Message::Force {},
        "ROLLBACK" => Message::Rollback(TakeBack::Ordered),
        "CONFIRM" => Message::Confirm {},
        "STOP" => Message::Stop {},
        "RETURN" => Message::Return {},
        "RETURNED" => Message::Returned {},
        "ABORT" => Message::Abort(reason("RESTART ROLLBACK")),
        "PROMOTED" => Message::Promoted(reason("the predecessor hangs: silent for 10s")),
        "COMMIT" => {
            let task = Task { phase: Phase::Commit, moved: 50, draining: 0, ..task() };
            Message::Commit(Progress { task })
        }
        "COMMITTED" => Message::Committed {},
        other => panic!("nobody says here what the golden file of {other} must mean"),
    }
}

fn task() -> Task {
    Task {
        task_id: TaskId(7),
        mode: Mode::Restart,
        state: TaskState::InProgress,
        phase: Phase::Sessions,
        phases: Vec::new(),
        generation: Generation(8),
        old_pid: 100,
        new_pid: 101,
        old_carrier: 0,
        new_carrier: 0,
        started_at_ms: 1_790_000_000_000,
        elapsed_ms: 12,
        sessions: 50,
        moved: 9,
        draining: 41,
        in_transaction: 3,
        disconnected: 0,
        detail: String::new(),
        pauses: Pauses::default(),
        by: String::new(),
    }
}

fn terms() -> Terms {
    let earlier = Task {
        task_id: TaskId(6),
        state: TaskState::Failed,
        phase: Phase::Preflight,
        new_pid: 0,
        detail: "preflight: config /etc/odp.toml: line 3".into(),
        ..task()
    };
    Terms {
        version: 1,
        build: "0.1.0".into(),
        pid: 100,
        generation: Generation(8),
        listeners: 2,
        sessions: 50,
        binary: Some("/usr/bin/odp".into()),
        task: task(),
        tasks: vec![earlier],
    }
}

/// The heads of every version, by their path.
fn heads() -> Vec<(PathBuf, Value)> {
    let mut heads = Vec::new();
    for version in std::fs::read_dir("tests/handover").expect("golden files") {
        let version = version.expect("readable").path();
        for file in std::fs::read_dir(version).expect("golden files") {
            let path = file.expect("readable").path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let text = std::fs::read_to_string(&path).expect("readable");
                heads.push((path, serde_json::from_str(&text).expect("JSON")));
            }
        }
    }
    heads
}

fn decode(head: &Value) -> Result<Message, DecodeError> {
    Frame::decode(&datagram(&head.to_string(), b"")).map(|frame| frame.message)
}

fn kind(head: &Value) -> &str {
    head["kind"].as_str().expect("a kind")
}

/// Writes what has no file yet, if that is asked for.
fn write_if_asked() {
    let Some(version) = std::env::var_os("ODP_GOLDEN") else { return };
    let version = version.into_string().expect("a number");
    let dir = PathBuf::from("tests/handover").join(format!("v{version}"));
    std::fs::create_dir_all(&dir).expect("writable");
    let heads = heads();
    for missing in
        Message::NAMES.iter().filter(|name| !heads.iter().any(|(_, head)| kind(head) == **name))
    {
        let head = serde_json::to_string(&expected(missing)).expect("JSON");
        let path = dir.join(format!("{}.json", missing.to_lowercase()));
        std::fs::write(path, head + "\n").expect("writable");
    }
}

#[test]
fn golden_messages_of_every_version_mean_what_they_meant() {
    write_if_asked();
    let mut kinds = BTreeSet::new();
    for (path, head) in heads() {
        assert_eq!(decode(&head), Ok(expected(kind(&head))), "{}", path.display());
        kinds.insert(kind(&head).to_owned());
    }
    assert_eq!(kinds.len(), Message::NAMES.len(), "each kind has a golden file: {kinds:?}");
}

#[test]
fn the_golden_frame_is_read_for_ever() {
    let bytes = std::fs::read("tests/handover/v1/refuse.frame").expect("readable");
    let message = Message::Refuse(Reason { reason: "no".into() });
    let frame = Frame { message, body: Bytes::from_static(b"\0raw\xff") };
    assert_eq!(Frame::decode(&Bytes::from(bytes.clone())), Ok(frame.clone()));
    let fresh = [&frame.encode_head()[..], &frame.body].concat();
    assert_eq!(fresh[..8], bytes[..8], "what an older build looks at first");
}

#[test]
fn fields_of_a_later_version_are_skipped_at_every_depth() {
    for (path, mut head) in heads() {
        grow(&mut head);
        assert!(head["later"].is_object());
        assert_eq!(decode(&head), Ok(expected(kind(&head))), "{}", path.display());
    }
}

/// Were a field renamed or removed here, a golden file would not mean the same any more.
#[test]
fn golden_messages_notice_each_field_that_is_gone() {
    for (path, head) in heads() {
        let mut fields = BTreeSet::new();
        names(&head, &mut fields);
        for field in fields {
            let decoded = decode(&renamed(&head, &field));
            let path = path.display();
            assert_ne!(decoded, Ok(expected(kind(&head))), "{path}: nobody would miss '{field}'");
        }
    }
}

#[test]
fn what_informs_may_be_of_a_later_version() {
    let head = json!({
        "kind": "PROGRESS",
        "task": {
            "task_id": 7, "mode": "HIBERNATE", "state": "PAUSED", "phase": "HANDSHAKE",
            "generation": 8, "old_pid": 100, "new_pid": 101, "started_at_ms": 1_790_000_000_000_u64,
            "elapsed_ms": 12, "sessions": 50, "moved": 9, "draining": 41, "in_transaction": 3,
            "disconnected": 0, "detail": "",
        },
    });
    let (mode, state, phase) = (Mode::Unknown, TaskState::Unknown, Phase::Unknown);
    let seen = Task { mode, state, phase, ..task() };
    let message = Message::Progress(Progress { task: seen });
    assert_eq!(decode(&head), Ok(message.clone()));
    // In the next generation it is still one row of SHOW RESTART.
    let again = serde_json::to_value(&message).expect("JSON");
    assert_eq!(decode(&again), Ok(message));
}

/// The golden files are of versions that do not say it.
#[test]
fn who_has_asked_is_passed_on_and_may_be_missing() {
    let progress = |by: &str| {
        let task = Task { by: by.into(), ..task() };
        Message::Progress(Progress { task })
    };
    for (by, expected) in [("ann@127.0.0.1:9", true), ("", false)] {
        let head = serde_json::to_value(progress(by)).expect("JSON");
        assert_eq!(head["task"].get("by").is_some(), expected, "{head}");
        assert_eq!(decode(&head), Ok(progress(by)));
    }
}

/// The same.
#[test]
fn where_it_has_been_is_passed_on_and_may_be_missing() {
    let reached = |phase, after_ms| Reached { phase, after_ms };
    for phases in [vec![], vec![reached(Phase::Preflight, 0), reached(Phase::Hello, 41)]] {
        let task = Task { phases: phases.clone(), ..task() };
        let message = Message::Progress(Progress { task });
        let mut head = serde_json::to_value(&message).expect("JSON");
        assert_eq!(head["task"].get("phases").is_some(), !phases.is_empty(), "{head}");
        assert_eq!(decode(&head), Ok(message));
        // One of a later version informs as well.
        head["task"]["phases"] = json!([{"phase": "HANDSHAKE", "after_ms": 3}]);
        let Ok(Message::Progress(seen)) = decode(&head) else { panic!("{head}") };
        assert_eq!(seen.task.phases, [reached(Phase::Unknown, 3)]);
    }
}

#[test]
fn what_is_not_said_by_an_older_version_has_a_default() {
    let hello = json!({"kind": "HELLO", "versions": {"min": 1, "max": 3}});
    let Ok(Message::Hello(hello)) = decode(&hello) else { panic!("HELLO is always read") };
    assert_eq!((hello.versions.max, hello.pid, hello.nofile), (3, 0, 0));
    assert!(decode(&json!({"kind": "REFUSE"})).is_ok());
    assert_eq!(decode(&json!({"kind": "ACKS"})), Ok(Message::Acks(Acks::default())));
}
