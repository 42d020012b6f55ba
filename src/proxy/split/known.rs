//! Which link knows what a command asks of the statements before it: how they went, by warnings and
//! counts. Of several that know a part of it none is asked, unless [`gather`](super::gather) can
//! bring it together.

use super::rules::{Goes, HOW_IT_WENT, OF_TABLES_AND_SESSION, Rules};
use crate::route::decide::{Kind, Refusal};
use crate::session::link::LinkId;
use crate::session::routing::{Asked, Command, Found, Standpoint, found_rows};
use crate::sql::analysis::{Analysis, Asks, Changes, Class};

impl Rules {
    /// Which links know how the last statements went, of this kind of server.
    pub(super) fn asked_at(&self, standpoint: &Standpoint<'_>) -> Asked {
        let mut asked_at = standpoint.asked_at;
        if !self.is_mariadb() {
            // Every statement puts away the warnings of the one before it.
            asked_at.warnings = asked_at.last;
            let either = asked_at.last.bit() | LinkId::HOME.bit();
            if standpoint.have_warnings & either == 0 {
                asked_at.warnings = asked_at.row_count;
            }
        }
        asked_at
    }

    /// What asks how the last statements went goes to the link that knows. If more is asked, that
    /// has to be known there, too.
    pub(super) fn to_who_knows(
        &self,
        analysis: &Analysis<'_>,
        standpoint: &Standpoint<'_>,
    ) -> Goes {
        let scattered = Goes::Refused(Refusal::Scattered);
        let Some(link) = self.asked_at(standpoint).who_knows(analysis.asks) else {
            return scattered;
        };
        let more = analysis.asks.without(HOW_IT_WENT);
        let is_all = more.is_empty() && analysis.changes.without(Changes::DIAGNOSTICS).is_empty();
        if link != LinkId::HOME && !self.answers_as_home(link, standpoint) {
            // It would say that there is no transaction, or say it in another character set.
            return scattered;
        }
        if link == LinkId::HOME || is_all {
            return Goes::To(link);
        }
        let may_be_had = more.without(OF_TABLES_AND_SESSION).is_empty()
            && analysis.changes.without(Changes::DIAGNOSTICS).is_empty()
            && link == standpoint.current
            && self.is_ready_to_read(standpoint);
        if may_be_had { Goes::To(link) } else { scattered }
    }

    /// Whether a reader's answer looks like one of the home's.
    pub(super) fn answers_as_home(&self, link: LinkId, standpoint: &Standpoint<'_>) -> bool {
        let is_like_home = standpoint.like_home & link.bit() != 0;
        let is_joined = standpoint.transaction.joined().is_some_and(|it| it.link() == link);
        let may_begin = standpoint.in_transaction && !is_joined || standpoint.begins_by_itself;
        is_like_home && !may_begin
    }

    /// Whether a command that is the home's asks of the statements before it what another link
    /// knows.
    pub(super) fn is_known_elsewhere(
        &self,
        command: &Command<'_>,
        standpoint: &Standpoint<'_>,
    ) -> bool {
        let (Command::Text(analysis) | Command::Execute { analysis, .. }) = command else {
            return false;
        };
        let is_program = matches!(
            analysis.class,
            // Those that stand in it ask after each other.
            Class::Multi | Class::Call | Class::Compound | Class::Execute | Class::Unknown
        );
        let asks = analysis.asks;
        if is_program || !asks.intersects(Asks::DIAGNOSTICS) || asks.intersects(Asks::ANYTHING) {
            return false;
        }
        let is_diagnostics = self.kind(command) == Some(Kind::Diagnostics);
        !is_diagnostics && self.asked_at(standpoint).who_knows(asks) != Some(LinkId::HOME)
    }

    /// Whether nobody could tell who knows FOUND_ROWS() behind a command that is the home's, unless
    /// the home does before it.
    pub(super) fn may_find_at_home(
        &self,
        command: &Command<'_>,
        standpoint: &Standpoint<'_>,
    ) -> bool {
        let Command::Text(Analysis { class, asks, .. }) = command else { return false };
        standpoint.asked_at.found_rows != LinkId::HOME
            && found_rows((*class, *asks)) == Found::Unknown
    }
}
