//! What servers are asked, and which questions one is spared.
//!
//! A question that a server does not understand, or does not answer the account, is asked again
//! after a while and not each time, or when it may have been started again. So is one that it does
//! not answer at all: SHOW REPLICA STATUS waits for a STOP REPLICA that waits for a statement, and
//! each connection that is given up meanwhile stays a thread there.

use std::time::{Duration, Instant};

use super::programs;
use crate::wire::flavour::Flavour;

/// How long a question is spared.
pub(super) const SPARED: Duration = Duration::from_secs(60);

/// Something that a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// Whether it takes writes.
    ReadOnly,
    /// Whether it does from those with all privileges. MySQL only.
    SuperReadOnly,
    /// What it replicates.
    Replication,
    /// Whether it is one of a Galera cluster. MariaDB only.
    Wsrep,
    /// Its place there.
    WsrepStatus,
    /// Its place in a replication group. MySQL only.
    Group,
    /// How far it is behind that. Asked of those that are in it.
    GroupLag,
    /// How many triggers there are. Asked as seldom as what is spared, as a server with many tables
    /// is long about it.
    Triggers,
    /// Those.
    TriggerBodies,
    /// How many stored routines there are. As seldom.
    Routines,
    /// Those.
    RoutineBodies,
    /// Their parameters.
    Parameters,
}

/// Questions that are spared, each until then, and why.
#[derive(Debug, Default)]
pub(super) struct Spared(Vec<(Subject, Instant, Why)>);

/// Why a question is spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The server does not know it, or does not answer the account.
    Refused,
    /// It did not answer, or is long about it.
    Slow,
}

impl Subject {
    /// What a server of this kind is asked in each round; the first is never spared.
    pub(super) fn of(flavour: Flavour) -> &'static [Self] {
        match flavour {
            Flavour::MariaDb { .. } => {
                &[Self::ReadOnly, Self::Replication, Self::Wsrep, Self::Routines, Self::Triggers]
            }
            Flavour::MySql { .. } => &[
                Self::ReadOnly,
                Self::SuperReadOnly,
                Self::Replication,
                Self::Group,
                Self::Routines,
                Self::Triggers,
            ],
            Flavour::OceanBase => {
                &[Self::ReadOnly, Self::SuperReadOnly, Self::Replication, Self::Group]
            }
        }
    }

    /// The words, and those to try if they are not understood.
    pub(super) fn words(self, flavour: Flavour) -> &'static [&'static str] {
        match self {
            Self::ReadOnly => &["SELECT @@global.read_only"],
            Self::SuperReadOnly => &["SELECT @@global.super_read_only"],
            Self::Replication => match flavour {
                Flavour::MariaDb { .. } => &["SHOW ALL SLAVES STATUS"],
                // The latter before 8.0.22.
                Flavour::MySql { .. } | Flavour::OceanBase => {
                    &["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"]
                }
            },
            Self::Wsrep => &["SELECT @@global.wsrep_on"],
            Self::WsrepStatus => &["SHOW GLOBAL STATUS LIKE 'wsrep\\_%'"],
            // Without the plugin there is no such variable; with it, and without a group, it is
            // empty.
            Self::Group => &["SELECT @@global.group_replication_group_name, (SELECT \
                CONCAT(member_state, ' ', member_role) \
                FROM performance_schema.replication_group_members \
                WHERE member_id = @@global.server_uuid)"],
            // As of the oldest that it applies at the moment; what it has applied is none.
            Self::GroupLag => &["SELECT MAX(TIMESTAMPDIFF(SECOND, \
                applying_transaction_original_commit_timestamp, NOW(6))) \
                FROM performance_schema.replication_applier_status_by_worker \
                WHERE channel_name = 'group_replication_applier' AND applying_transaction <> ''"],
            Self::Triggers => programs::counting(flavour),
            Self::TriggerBodies => programs::reading(flavour),
            Self::Routines => programs::counting_routines(flavour),
            Self::RoutineBodies => programs::reading_routines(flavour),
            Self::Parameters => programs::reading_parameters(flavour),
        }
    }
}

impl Subject {
    /// Whether a server is spared this question that did not answer it in time. Without a word of
    /// its group one that is out of it would be taken for a server on its own.
    pub(super) fn may_be_slow(self) -> bool {
        !matches!(self, Self::ReadOnly | Self::Group)
    }
}

impl Spared {
    /// Whether the server is spared this question.
    pub(super) fn has(&self, subject: Subject, now: Instant) -> bool {
        self.0.iter().any(|(spared, until, _)| *spared == subject && now < *until)
    }

    /// Spares it this question.
    pub(super) fn add(&mut self, subject: Subject, why: Why, now: Instant) {
        self.0.retain(|(spared, ..)| *spared != subject);
        self.0.push((subject, now + SPARED, why));
    }

    /// It is asked this one again at once.
    pub(super) fn remove(&mut self, subject: Subject) {
        self.0.retain(|(spared, ..)| *spared != subject);
    }

    /// A connection is made: it may be another server, with other plugins.
    pub(super) fn handle_connection(&mut self) {
        self.0.retain(|(.., why)| *why == Why::Slow);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_asked_again_after_a_while() {
        let now = Instant::now();
        let mut spared = Spared::default();
        spared.add(Subject::Group, Why::Refused, now);
        assert!(spared.has(Subject::Group, now) && !spared.has(Subject::Replication, now));
        assert!(!spared.has(Subject::Group, now + SPARED));
        spared.add(Subject::Group, Why::Refused, now + SPARED);
        assert!(spared.has(Subject::Group, now + SPARED));
    }

    #[test]
    fn who_may_be_another_server_is_asked_what_was_refused() {
        let now = Instant::now();
        let mut spared = Spared::default();
        spared.add(Subject::Group, Why::Refused, now);
        spared.add(Subject::Replication, Why::Slow, now);
        spared.handle_connection();
        assert!(!spared.has(Subject::Group, now) && spared.has(Subject::Replication, now));
    }

    #[test]
    fn what_says_that_a_server_is_of_no_use_is_always_asked() {
        for (subject, may_be_slow) in [
            (Subject::ReadOnly, false),
            (Subject::Group, false),
            (Subject::Replication, true),
            (Subject::Triggers, true),
        ] {
            assert_eq!(subject.may_be_slow(), may_be_slow, "{subject:?}");
        }
    }

    #[test]
    fn a_server_is_spoken_to_in_its_own_words() {
        let of_mariadb =
            [Subject::ReadOnly, Subject::Replication, Subject::Wsrep, Subject::Routines];
        let of_mariadb = [&of_mariadb[..], &[Subject::Triggers]].concat();
        let of_others =
            [Subject::ReadOnly, Subject::SuperReadOnly, Subject::Replication, Subject::Group];
        let of_mysql = [&of_others[..], &[Subject::Routines, Subject::Triggers]].concat();
        let cases: [(&[u8], &[Subject], &str); 4] = [
            (b"5.5.5-10.11.19-MariaDB-0+deb12u1", &of_mariadb, "SHOW ALL SLAVES STATUS"),
            (b"11.8.9-MariaDB", &of_mariadb, "SHOW ALL SLAVES STATUS"),
            (b"9.7.4-2", &of_mysql, "SHOW REPLICA STATUS"),
            (b"5.7.25-OceanBase-v4.3.5", &of_others, "SHOW REPLICA STATUS"),
        ];
        for (version, subjects, words) in cases {
            let flavour = Flavour::of(version);
            assert_eq!(Subject::of(flavour), subjects, "{flavour:?}");
            assert_eq!(Subject::Replication.words(flavour)[0], words, "{flavour:?}");
        }
    }
}
