//! SHOW PROXYSESSION VARIABLES: what a session's variables are.
//!
//! What a client keeps in its user variables is nobody's affair but a manager's: others see which
//! there are, and not what is in them.

use super::caller::Caller;
use super::table::{Operands, Table, timestamp};
use crate::config::Role;
use crate::proxy::sessions::view::{Shown, VariablesView, Whose};

/// Those that the session has, or has changed.
pub(super) fn own(view: &VariablesView, caller: &Caller, operands: &Operands) -> Table {
    table(view, caller, operands, |shown| shown.whose != Whose::Server)
}

/// All of them.
pub(super) fn all(view: &VariablesView, caller: &Caller, operands: &Operands) -> Table {
    table(view, caller, operands, |_| true)
}

fn table(
    view: &VariablesView,
    caller: &Caller,
    operands: &Operands,
    is_wanted: impl Fn(&Shown) -> bool,
) -> Table {
    let columns = ["variable_name", "value", "info", "modified_type", "sys_variable_flag"];
    let mut table = Table::with_columns(&columns);
    let then = view
        .then
        .as_ref()
        .map(|then| format!(", as of {}; not asked now: {}", timestamp(then.at), then.why));
    let then = then.unwrap_or_default();
    let shown = view.variables.iter().filter(|shown| operands.matches(&shown.name));
    for shown in shown.filter(|shown| is_wanted(shown)) {
        let (info, flag) = match shown.whose {
            Whose::Server => ("sys var", " && session_scope"),
            Whose::Session => ("changed sys var", " && session_scope"),
            Whose::User => ("user var", ""),
        };
        let is_hidden = shown.whose == Whose::User && caller.role == Role::Viewer;
        let value = if is_hidden { Some("***".into()) } else { shown.value.clone() };
        let modified = match shown.is_last_insert_id() {
            true => "last insert id modified vars",
            false => "cold modified vars",
        };
        let text = |text: &str| Some(text.to_owned());
        let info = Some(format!("{info}{then}"));
        table.rows.push(vec![text(&shown.name), value, info, text(modified), text(flag)]);
    }
    table
}
