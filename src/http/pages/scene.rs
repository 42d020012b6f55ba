//! Who looks at what.

use super::frame::{self, Counts, Frame};
use crate::admin::command::Change;
use crate::admin::{Admin, Table};
use crate::config::Role;
use crate::http::door::{self, Changed};
use crate::http::fleet;
use crate::http::reply::{Problem, Reply, html as page, whole};
use crate::http::request::{Pairs, Request};
use crate::http::service::Http;
use crate::http::who::{self, Visitor};
use hyper::StatusCode;
use maud::{Markup, html};

/// A request of somebody.
pub(super) struct Scene<'a> {
    pub http: &'a Http,
    pub request: &'a Request,
    pub visitor: &'a Visitor,
}

impl Scene<'_> {
    pub(super) fn admin(&self) -> &Admin {
        &self.http.admin
    }

    /// The rows of a statement.
    pub(super) async fn show(&self, sql: &str) -> Result<Table, Problem> {
        door::show(self.admin(), &self.visitor.caller, sql).await
    }

    pub(super) async fn proxies(&self) -> Result<Table, Problem> {
        door::proxies(self.admin(), &self.visitor.caller).await
    }

    pub(super) async fn clusters(&self) -> Result<Table, Problem> {
        door::clusters(self.admin(), &self.visitor.caller).await
    }

    /// Carries out a change; a task's id, 0 for none.
    pub(super) async fn change(&self, change: Change) -> Result<u64, Problem> {
        door::change(&self.http.admin, &self.visitor.caller, change).await
    }

    /// The same for one that may take longer than connections last.
    pub(super) async fn change_for_long(&self, change: Change) -> Result<Changed, Problem> {
        let (admin, caller) = (&self.http.admin, &self.visitor.caller);
        door::change_for_long(admin, caller, change).await
    }

    /// The fields of the form.
    pub(super) fn form(&self) -> Result<Pairs, Problem> {
        self.request.form()
    }

    /// Why the visitor may change nothing; None: he may.
    pub(super) fn refusal(&self) -> Option<String> {
        let caller = &self.visitor.caller;
        (caller.role == Role::Viewer).then(|| who::viewer(&caller.user))
    }

    /// Whether this form may do something; who may not is in the audit.
    pub(super) async fn may_change(&self) -> Result<(), Problem> {
        // Who may only look may leave, too.
        let leaves = self.request.segments() == ["logout"];
        let judged = match leaves {
            true => who::is_ours(self.admin(), self.request, self.visitor),
            false => who::may_change(self.admin(), self.request, self.visitor),
        };
        let Err(problem) = judged else { return Ok(()) };
        let action = format!("POST /{}", self.request.path.join("/"));
        let caller = &self.visitor.caller;
        self.admin().audit.refuse(caller, &action, &problem.detail).await;
        Err(problem)
    }

    /// What of a page is the same for all who look: there is nothing of the visitor in it but what
    /// his role may.
    pub(super) async fn part(
        &self,
        body: impl Future<Output = Result<Markup, Problem>>,
    ) -> Result<Reply, Problem> {
        let Request { path, query, .. } = self.request;
        let name = format!("{path:?} {query:?} {:?}", self.visitor.caller.role);
        let make = async {
            let (counts, body) = (self.counts().await?, body.await?);
            Ok(html! { (counts.shown()) (body) }.into_string())
        };
        let part = self.http.parts.get(&name, self.http.hub.last_event(), make).await?;
        Ok(whole(StatusCode::OK, "text/html; charset=utf-8", part))
    }

    /// A page that keeps itself up to date.
    pub(super) async fn page(&self, title: &str, body: Markup) -> Result<Reply, Problem> {
        let counts = self.counts().await?;
        Ok(self.framed(title, StatusCode::OK, counts, body))
    }

    /// A page of which nothing changes but the counts in its head.
    pub(super) async fn still(&self, title: &str, body: Markup) -> Result<Reply, Problem> {
        self.page(title, self.with_counts(body)).await
    }

    /// Why there is no other page.
    pub(super) async fn problem(&self, problem: &Problem) -> Reply {
        let counts = self.counts().await.unwrap_or_default();
        let body = self.with_counts(frame::problem(problem));
        problem.with_fields(self.framed(problem.title(), problem.status, counts, body))
    }

    fn with_counts(&self, body: Markup) -> Markup {
        html! { (body) (frame::live("/tasks?part=counts", &[])) }
    }

    fn framed(&self, title: &str, status: StatusCode, counts: Counts, body: Markup) -> Reply {
        let here = self.request.path.first().map_or("", String::as_str);
        let name = self.name();
        let frame = Frame { title, here, visitor: Some((self.visitor, &name)), counts };
        page(status, frame.around(body))
    }

    /// Whether the page is open, and looks again.
    pub(super) fn looks_again(&self) -> bool {
        self.request.headers.contains_key("hx-request")
    }

    /// Of the proxy that answers: as the fleet calls it, or its machine's.
    pub(super) fn name(&self) -> String {
        let heard = self.http.look.last();
        let members = heard.and_then(|heard| heard.proxies.ok());
        let own = members.as_ref().and_then(|members| members.rows().find(fleet::is_local));
        match own {
            Some(row) => row.text("name").to_owned(),
            None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }

    /// Where the config is that commands are to read.
    pub(super) fn config_path(&self) -> String {
        self.admin().lifecycle.config_path().to_string_lossy().into_owned()
    }

    async fn counts(&self) -> Result<Counts, Problem> {
        let tasks = self.show("SHOW RESTART").await?;
        let fleet = fleet::tasks(self.admin(), &self.visitor.caller).await?;
        // What is part of another one is counted there.
        let own = || tasks.rows().filter(|row| row.text("fleet_task").is_empty());
        let count = |state: &str| {
            own().chain(fleet.rows()).filter(|row| row.text("state") == state).count()
        };
        let running = count("IN_PROGRESS") + self.fleet_tasks_of_others().await.len();
        Ok(Counts { running, failed: count("FAILED") })
    }

    /// Those under way, as far as it is known, and who coordinates them.
    pub(super) async fn fleet_tasks_of_others(&self) -> Vec<(String, String)> {
        let heard = self.http.look.known(&self.visitor.caller).await;
        let members = heard.and_then(|heard| heard.proxies.ok());
        members.map(|members| fleet::tasks_of_others(&members)).unwrap_or_default()
    }
}
