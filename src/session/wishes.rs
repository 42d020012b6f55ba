//! What a client has asked of the proxy by setting ODP's user variables: how new its reads have to
//! be, which server it wants, where it is.
//!
//! Invariant: what is not known for sure is `Wish::Unknown`, and stays so until the variable is
//! set to something that is. A statement that has failed has set nothing, unless it may have set
//! them before.

use serde::{Deserialize, Serialize};

use crate::session::link::Ended;
use crate::sql::Modes;
use crate::sql::analysis::wishes::{Value, Variable, wishes};
use crate::sql::analysis::{Changes, Consistency};
use crate::wire::response::Ending;

/// The longest value that is remembered.
const LONGEST: usize = 255;

/// What a variable holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Wish {
    /// Nothing, or NULL, or an empty text.
    #[default]
    Unset,
    Text(String),
    Unknown,
}

/// What is asked of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    /// By the numbers of their variables.
    in_force: [Wish; Variable::ALL.len()],
    /// What they are set to by statements under way.
    awaited: Vec<(usize, Wish)>,
    /// How many those are.
    statements: usize,
}

impl Wishes {
    /// A text was sent that may set some of them.
    pub(super) fn handle_statement(&mut self, sql: &[u8], modes: Modes) {
        let set = wishes(sql, modes).into_iter().map(|(variable, value)| (variable, wish(value)));
        self.awaited.extend(set.map(|(variable, wish)| (variable as usize, wish)));
        self.statements += 1;
        if self.statements > 1 {
            // Which of them succeed is told too late.
            self.awaited.iter_mut().for_each(|(_, wish)| *wish = Wish::Unknown);
            self.awaited.sort_unstable_by_key(|(at, _)| *at);
            self.awaited.dedup_by_key(|(at, _)| *at);
        }
    }

    /// It was answered.
    pub(super) fn handle_end(&mut self, Ended { ending, changes, .. }: Ended) {
        self.statements = self.statements.saturating_sub(1);
        if ending == Ending::Error {
            const ONLY: Changes =
                Changes::USER_VARIABLES.with(Changes::ROUTING).with(Changes::DIAGNOSTICS);
            let is_known = |(_, wish): &(usize, Wish)| *wish != Wish::Unknown;
            if changes.without(ONLY).is_empty() && self.awaited.iter().all(is_known) {
                self.awaited.clear();
            }
            self.awaited.iter_mut().for_each(|(_, wish)| *wish = Wish::Unknown);
        }
        if self.statements == 0 {
            for (at, wish) in self.awaited.drain(..) {
                self.in_force[at] = wish;
            }
        }
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.statements == 0 && self.in_force.iter().all(|wish| *wish == Wish::Unset)
    }

    /// How new what is read has to be; what is not known asks for the newest.
    pub fn consistency(&self) -> Option<Consistency> {
        let of = |variable: Variable| match &self.in_force[variable as usize] {
            Wish::Unset => None,
            Wish::Text(text) => Some(consistency(variable, text)),
            Wish::Unknown => Some(Consistency::Strong),
        };
        // The home has the newest, and which other server is wanted is not known.
        let is_lost = self.in_force[Variable::RouteAddress as usize] == Wish::Unknown;
        is_lost
            .then_some(Consistency::Strong)
            .or_else(|| of(Variable::ProxyReadConsistency))
            .or_else(|| of(Variable::ReadConsistency))
    }

    /// The server that is wanted.
    pub fn route_address(&self) -> Option<&str> {
        self.text(Variable::RouteAddress)
    }

    /// The idc that the client is in.
    pub fn idc(&self) -> Option<&str> {
        self.text(Variable::Ldc)
    }

    fn text(&self, variable: Variable) -> Option<&str> {
        match &self.in_force[variable as usize] {
            Wish::Text(text) => Some(text),
            Wish::Unset | Wish::Unknown => None,
        }
    }
}

fn wish(value: Value<'_>) -> Wish {
    let text = match value {
        Value::Null => return Wish::Unset,
        Value::Literal(text) => std::str::from_utf8(text).map(str::trim),
        Value::Unknown => return Wish::Unknown,
    };
    match text {
        Ok("") => Wish::Unset,
        Ok(text) if text.len() <= LONGEST => Wish::Text(text.to_owned()),
        Ok(_) | Err(_) => Wish::Unknown,
    }
}

/// ODP takes words for the one variable and numbers for the other. What is neither asks for the
/// newest.
fn consistency(variable: Variable, text: &str) -> Consistency {
    let is_number = variable == Variable::ProxyReadConsistency && text == "1";
    match is_number || text.eq_ignore_ascii_case("weak") {
        true => Consistency::Weak,
        false => Consistency::Strong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::link::Note;
    use crate::sql::Extent;
    use crate::sql::analysis::analyse;

    fn ended(sql: &str, ending: Ending) -> Ended {
        let changes = analyse(sql.as_bytes(), Extent::Whole, Modes::USUAL).changes;
        let (diagnostics, rows, stamp) = (None, None, None);
        Ended { ending, note: Note::Plain, changes, diagnostics, rows, stamp }
    }

    fn after(all: &[(&str, Ending)]) -> Wishes {
        let mut wishes = Wishes::default();
        for (sql, ending) in all {
            let ended = ended(sql, *ending);
            assert!(ended.changes.intersects(Changes::ROUTING), "{sql}");
            wishes.handle_statement(sql.as_bytes(), Modes::USUAL);
            wishes.handle_end(ended);
        }
        wishes
    }

    #[test]
    fn reads_are_as_new_as_was_asked_last() {
        use Consistency::{Strong, Weak};
        let table = [
            ("SET @ob_read_consistency = 'weak'", Some(Weak)),
            ("SET @ob_read_consistency = 'Strong'", Some(Strong)),
            ("SET @ob_read_consistency = 'frozen'", Some(Strong)),
            ("SET @ob_read_consistency = NULL", None),
            ("SET @ob_read_consistency = ''", None),
            ("SET @ob_read_consistency = @x", Some(Strong)),
            ("SET @obproxy_read_consistency = 1", Some(Weak)),
            ("SET @obproxy_read_consistency = '0'", Some(Strong)),
            ("SET @obproxy_read_consistency = 0, @ob_read_consistency = 'weak'", Some(Strong)),
            ("SET @obproxy_route_addr = @x, @ob_read_consistency = 'weak'", Some(Strong)),
            ("SET @proxy_session_ldc = @x", None),
        ];
        for (sql, expected) in table {
            let before = "SET @ob_read_consistency = 'weak', @obproxy_read_consistency = NULL";
            let wishes = after(&[(before, Ending::Ok), (sql, Ending::Ok)]);
            let expected = if sql.contains("ldc") { Some(Weak) } else { expected };
            assert_eq!(wishes.consistency(), expected, "{sql}");
        }
    }

    #[test]
    fn what_failed_has_set_nothing_if_it_surely_has_not() {
        let set = ("SET @obproxy_route_addr = 'a:1', @proxy_session_ldc = 'x'", Ending::Ok);
        let failed = ("SET @obproxy_route_addr = 'b:1'", Ending::Error);
        let wishes = after(&[set, failed]);
        assert_eq!((wishes.route_address(), wishes.idc()), (Some("a:1"), Some("x")));
        for sql in [
            "SET @obproxy_route_addr = 'b:1', max_connections = 1",
            "SELECT @obproxy_route_addr := 'b:1', (SELECT 1 UNION SELECT 2)",
        ] {
            let wishes = after(&[set, (sql, Ending::Error)]);
            assert_eq!(wishes.route_address(), None, "{sql}");
            assert_eq!(wishes.consistency(), Some(Consistency::Strong), "{sql}");
            assert_eq!(wishes.idc(), Some("x"), "{sql}");
        }
    }

    #[test]
    fn of_several_at_once_nothing_is_sure() {
        let mut wishes = Wishes::default();
        let sql = "SET @ob_read_consistency = 'weak'";
        wishes.handle_statement(sql.as_bytes(), Modes::USUAL);
        wishes.handle_statement(sql.as_bytes(), Modes::USUAL);
        wishes.handle_end(ended(sql, Ending::Error));
        assert_eq!((wishes.consistency(), wishes.is_empty()), (None, false));
        wishes.handle_end(ended(sql, Ending::Ok));
        assert_eq!(wishes.consistency(), Some(Consistency::Strong));
    }
}
