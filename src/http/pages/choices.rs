//! What is chosen and pressed in the dialogs of a restart. Whether it can be changes while somebody
//! looks; what could be, and can, stays as it is under his hand.

use maud::{Markup, html};

use super::frame::button;

/// The ids of what changes in a dialog: these, and of what it is about.
pub(super) fn and<const N: usize>(parts: [&str; N]) -> Vec<String> {
    parts.into_iter().chain([SOFT, HARD, GO]).map(str::to_owned).collect()
}

/// Of a restart that nobody notices.
const SOFT: &str = "soft";

/// Of one that everybody notices.
const HARD: &str = "hard";

/// Of what begins it.
const GO: &str = "go";

/// Why each choice is refused.
pub(super) struct Choices {
    pub soft: Option<String>,
    pub hard: Option<String>,
    /// Whether somebody has just come to the page: then the choice is made that is recommended.
    pub is_first_look: bool,
}

impl Choices {
    /// Both, with what they do.
    pub(super) fn shown(&self, soft: Markup, hard: Markup) -> Markup {
        let is_chosen = self.is_first_look && self.soft.is_none();
        let name = html! { b { "Restart" } " (recommended)" };
        html! {
            fieldset {
                legend { "How" }
                (choice(SOFT, "restart", is_chosen, self.soft.as_deref(), html! { (name) (soft) }))
                (choice(HARD, "force", false, self.hard.as_deref(), html! {
                    b { "Force Restart" } (hard)
                }))
            }
        }
    }

    /// The button: it is there as long as there is a choice.
    pub(super) fn go(&self) -> Markup {
        let why_not = if self.soft.is_some() { self.hard.as_deref() } else { None };
        html! {
            span id=(GO) {
                @match why_not {
                    None => button class="main" id="go-open" hx-preserve { "Restart" },
                    Some(_) => (button("main", "Restart", why_not)),
                }
            }
        }
    }
}

fn choice(
    id: &str,
    value: &str,
    is_chosen: bool,
    why_not: Option<&str>,
    explained: Markup,
) -> Markup {
    html! {
        div id=(id) {
            label class="choice" id=[why_not.is_none().then(|| format!("{id}-open"))]
                hx-preserve[why_not.is_none()] {
                input type="radio" name="mode" value=(value) required checked[is_chosen]
                    disabled[why_not.is_some()];
                span {
                    (explained)
                    @if let Some(why) = why_not { p class="why" { "Not now: " (why) "." } }
                }
            }
        }
    }
}
