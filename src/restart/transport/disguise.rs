//! Lets a test make this build pass for a neighbouring version, on the wire and nowhere else.
//!
//! Only with the feature `crash-points`; otherwise it changes nothing. `ODP_ACT_AS` holds
//!
//! | value | versions spoken | what is sent |
//! |---|---|---|
//! | `older` | from one less | what has a default is left out, where that loses nothing |
//! | `newer` | to one more | more fields in every object; unknown modes, states and phases of tasks |
//! | `newer-critical` | the same | and a critical field in each session that is in a transaction |
//! | `newer-links` | the same | further links of sessions where nobody knows them |
//! | `newer-phase` | the same | and an unknown phase of each session that is in a transaction |
//! | `former`, `future` | none that this build speaks | as it is |

use bytes::Bytes;

use crate::restart::message::{Frame, Versions};

/// The versions of the protocol that this process says it speaks.
#[cfg(not(feature = "crash-points"))]
pub(crate) fn versions() -> Versions {
    crate::restart::message::VERSIONS
}

/// A frame as it is sent: prefix with head, and body.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub(crate) fn encode(frame: &Frame) -> (Vec<u8>, Bytes) {
    (frame.encode_head(), frame.body.clone())
}

/// The versions of the protocol that this process says it speaks.
#[cfg(feature = "crash-points")]
pub(crate) fn versions() -> Versions {
    worn::versions(worn::costume())
}

/// A frame as it is sent: prefix with head, and body.
#[cfg(feature = "crash-points")]
pub(crate) fn encode(frame: &Frame) -> (Vec<u8>, Bytes) {
    worn::encode(worn::costume(), frame)
        .unwrap_or_else(|| (frame.encode_head(), frame.body.clone()))
}

#[cfg(feature = "crash-points")]
mod worn {
    use std::sync::LazyLock;

    use bytes::Bytes;
    use serde_json::{Map, Value, json};

    use crate::restart::message::{Frame, Message, VERSIONS, Versions, prefixed};
    use crate::restart::transport::later::grow;

    /// Whose clothes are worn.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Costume {
        None,
        Older,
        Newer(Extra),
        Former,
        Future,
    }

    /// What the sessions in a transaction, or with several links, have that nobody knows.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Extra {
        Nothing,
        Critical,
        Links,
        Phase,
    }

    pub(super) fn costume() -> Costume {
        static WORN: LazyLock<Costume> =
            LazyLock::new(|| match std::env::var("ODP_ACT_AS").unwrap_or_default().as_str() {
                "older" => Costume::Older,
                "newer" => Costume::Newer(Extra::Nothing),
                "newer-critical" => Costume::Newer(Extra::Critical),
                "newer-links" => Costume::Newer(Extra::Links),
                "newer-phase" => Costume::Newer(Extra::Phase),
                "former" => Costume::Former,
                "future" => Costume::Future,
                _ => Costume::None,
            });
        *WORN
    }

    pub(super) fn versions(costume: Costume) -> Versions {
        let Versions { min, max } = VERSIONS;
        let before = min.saturating_sub(1);
        match costume {
            Costume::None => VERSIONS,
            Costume::Older => Versions { min: before, max: min.max(max.saturating_sub(1)) },
            Costume::Newer(_) => Versions { min, max: max + 1 },
            Costume::Former => Versions { min: before, max: before },
            Costume::Future => Versions { min: max + 1, max: max + 2 },
        }
    }

    /// None: as it is.
    pub(super) fn encode(costume: Costume, frame: &Frame) -> Option<(Vec<u8>, Bytes)> {
        let mut head = serde_json::to_value(&frame.message).ok()?;
        let mut body = frame.body.clone();
        match costume {
            Costume::None | Costume::Former | Costume::Future => return None,
            Costume::Older => {
                if let Message::Parcels(_) = &frame.message {
                    body = parcels(&mut head, &body, leave_out_of_state)?;
                }
                leave_out_of_head(head.as_object_mut()?);
            }
            Costume::Newer(extra) => {
                match &frame.message {
                    Message::Parcels(_) => {
                        body = parcels(&mut head, &body, |state| add_to_state(state, extra))?;
                    }
                    // What data planes tell each other is JSON too.
                    _ => body = grown(&body).unwrap_or(body),
                }
                add_to_tasks(&mut head);
                grow(&mut head);
            }
        }
        let head = serde_json::to_vec(&head).ok()?;
        Some((prefixed(&head, body.len()), body))
    }

    /// Changes the state of each parcel, and its length in the head.
    fn parcels(head: &mut Value, body: &[u8], change: impl Fn(&mut Value)) -> Option<Bytes> {
        let mut rest = body;
        let mut changed = Vec::new();
        for entry in head.get_mut("parcels")?.as_array_mut()? {
            let length = |name: &str| Some(entry.get(name)?.as_u64()? as usize);
            let (state, after) = rest.split_at_checked(length("state")?)?;
            let (bytes, after) = after.split_at_checked(length("bytes")?)?;
            rest = after;
            let mut state = serde_json::from_slice(state).ok()?;
            change(&mut state);
            let state = serde_json::to_vec(&state).ok()?;
            entry["state"] = state.len().into();
            changed.extend_from_slice(&state);
            changed.extend_from_slice(bytes);
        }
        Some(changed.into())
    }

    fn leave_out_of_head(head: &mut Map<String, Value>) {
        for name in ["build", "pid", "config_hash", "nofile", "sessions", "binary", "tasks"] {
            head.remove(name);
        }
        if let Some(Value::Object(task)) = head.get_mut("task") {
            task.remove("by");
            task.remove("phases");
        }
        head.retain(|name, value| {
            !(is_default(value) && ["adopted", "refused"].contains(&&**name))
        });
    }

    fn leave_out_of_state(state: &mut Value) {
        for (place, names) in [
            ("", &["critical", "counted"][..]),
            ("/session", &["names"]),
            ("/session/conversation", &["residue", "quit"]),
        ] {
            if let Some(map) = state.pointer_mut(place).and_then(Value::as_object_mut) {
                map.retain(|name, value| {
                    !(names.contains(&&**name) && (is_default(value) || name == "counted"))
                });
            }
        }
    }

    fn is_default(value: &Value) -> bool {
        *value == json!([]) || *value == json!(false)
    }

    fn add_to_state(state: &mut Value, extra: Extra) {
        let status = state.pointer("/session/conversation/status/Known").and_then(Value::as_u64);
        let in_transaction = status.is_some_and(|status| status & 1 != 0);
        grow(state);
        match extra {
            Extra::Critical if in_transaction => {
                state["rewind"] = json!({"to": 7});
                state["critical"] = json!(["session.user", "rewind"]);
            }
            Extra::Phase if in_transaction => {
                if let Some(turn) = state.pointer_mut("/session/conversation/turn") {
                    *turn = "Suspended".into();
                }
            }
            Extra::Links => move_links(state),
            Extra::Nothing | Extra::Critical | Extra::Phase => {}
        }
    }

    /// As for a build that cannot know several links of a session.
    fn move_links(state: &mut Value) {
        let Some(Value::Object(conversation)) = state.pointer_mut("/session/conversation") else {
            return;
        };
        let Some(links) = conversation.remove("links") else { return };
        conversation.insert("branches".into(), links);
        state["critical"] = json!(["session.conversation.branches"]);
    }

    /// The task under way is in an unknown phase, and before it there was one nobody understands.
    fn add_to_tasks(head: &mut Value) {
        let Some(task) = head.get_mut("task") else { return };
        task["phase"] = "REFLECT".into();
        let mut odd = task.clone();
        odd["task_id"] = 0.into();
        odd["mode"] = "HIBERNATE".into();
        odd["state"] = "SHELVED".into();
        if let Some(Value::Array(tasks)) = head.get_mut("tasks") {
            tasks.push(odd);
        }
    }

    fn grown(body: &[u8]) -> Option<Bytes> {
        let mut value = serde_json::from_slice(body).ok()?;
        grow(&mut value);
        serde_json::to_vec(&value).ok().map(Bytes::from)
    }
}
