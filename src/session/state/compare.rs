//! What of a state did not arrive.

use std::fmt;

use super::push::Push;
use super::role::Role;
use super::snapshot::State;
use super::variable::{Origin, Variable, is_carried, is_of_the_server, other_name};

/// A part of a state, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The default schema.
    Schema,
    /// The role.
    Role,
    /// Whose session it is.
    User,
    /// How statements are read and results written, while ours are told.
    Reading,
    /// A system variable, by its name at its source.
    Variable(String),
    /// A user variable.
    UserVariable(Vec<u8>),
    /// User variables that were told together.
    UserVariables,
    /// LAST_INSERT_ID().
    LastInsertId,
    /// A set timestamp.
    Timestamp,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schema => f.write_str("default schema"),
            Self::Role => f.write_str("role"),
            Self::User => f.write_str("user"),
            Self::Reading => f.write_str("character sets and sql_mode"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::UserVariable(name) => write!(f, "user variable {}", name.escape_ascii()),
            Self::UserVariables => f.write_str("user variables"),
            Self::LastInsertId => f.write_str("LAST_INSERT_ID()"),
            Self::Timestamp => f.write_str("timestamp"),
        }
    }
}

impl State {
    /// What is not the same in `after`, which was pulled from where this state was pushed to.
    ///
    /// A variable that the session never touched may differ if the other server does not have it,
    /// has its own as all servers do, or did not take this one's (`push` knows).
    pub fn differences(&self, after: &Self, push: &Push) -> Vec<Subject> {
        let known = |role: &Role| *role != Role::Unknown;
        let role = known(&self.role) && known(&after.role) && self.role != after.role;
        let mut found = Vec::new();
        found.extend((self.schema != after.schema).then_some(Subject::Schema));
        found.extend(role.then_some(Subject::Role));
        // It cannot be told: the other session is of who has logged in.
        let user = self.user.is_some() && after.user.is_some() && self.user != after.user;
        found.extend(user.then_some(Subject::User));
        for (name, variable) in self.variables.iter().filter(|(name, _)| is_carried(name)) {
            let there = after.variables.get(name);
            let there = there.or_else(|| after.variables.get(other_name(name)?));
            let excused = variable.origin == Origin::Server
                && (there.is_none() || is_of_the_server(name) || push.left().contains(name));
            let differs = |there: &Variable| variable.value.to_tell(name, &there.value).is_some();
            if !excused && there.is_none_or(differs) {
                found.push(Subject::Variable(name.clone()));
            }
        }
        let names = self.user_variables.keys().chain(after.user_variables.keys());
        let differs = |name: &&Vec<u8>| {
            let (here, there) = (self.user_variables.get(*name), after.user_variables.get(*name));
            // One that was never set is NULL too, and cannot be told from it but by a list.
            let there_is_null = there.is_none_or(|there| there.value.is_none());
            here != there && !(here.is_none() && there_is_null)
        };
        let mut names: Vec<_> = names.filter(differs).cloned().collect();
        names.sort();
        names.dedup();
        found.extend(names.into_iter().map(Subject::UserVariable));
        let insert_id = self.last_insert_id != after.last_insert_id;
        found.extend(insert_id.then_some(Subject::LastInsertId));
        found.extend((self.timestamp != after.timestamp).then_some(Subject::Timestamp));
        found
    }
}
