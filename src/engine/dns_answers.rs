//! DNS answers judged on their way back, address by address, where a rule asks where they may lead. An
//! answer that is denied does not reach its client. What was answered is remembered elsewhere
//! (`bindings`).

use super::Engine;
use super::entry::Mark;
use super::state::{Case, Stage};
use super::stream::deny;
use crate::flow::FlowId;
use crate::inspect::dns::answers::addresses;
use crate::inspect::dns::stream::messages;
use crate::inspect::dns::{Header, answers::sole_question};
use crate::model::{Action, App, Direction, Fact, Facts, FlowVerdict, Reason};
use crate::policy::Decision;

impl Engine {
    /// Judges the answers in bytes of a DNS stream that its reader has just consumed. `None`: they
    /// may go on, or these are none.
    pub(super) fn judge_answers(
        &mut self,
        id: FlowId,
        case: &Case,
        unasked: bool,
        turn: Direction,
        consumed: &[u8],
    ) -> Option<FlowVerdict> {
        if turn == Direction::Original || case.facts.app.known() != Some(&App::Dns) {
            return None;
        }
        messages(consumed).find_map(|message| self.judge_answer(id, case, unasked, message))
    }

    /// Judges one message of the server: each of its addresses, by every rule, as an answer to its
    /// question. One without addresses leads nowhere and goes on. `None`: it may.
    pub(super) fn judge_answer(
        &mut self,
        id: FlowId,
        case: &Case,
        unasked: bool,
        message: &[u8],
    ) -> Option<FlowVerdict> {
        if case.facts.app.known() != Some(&App::Dns)
            || !Header::read(message).is_some_and(Header::is_response)
        {
            return None;
        }
        let question = self.question(id)?;
        if !self.policy.judges_answers(question.policy?) || self.is_out_of_question(id, unasked) {
            return None;
        }
        let verdict = match addresses(message) {
            Err(reason) => deny(reason),
            Ok(addresses) => {
                let mut facts = Facts { ..case.facts.clone() };
                if let Some(asked) = sole_question(message) {
                    facts.questions = Fact::Known(vec![asked.name]);
                }
                addresses.into_iter().find_map(|address| {
                    facts.answer = Fact::Known(address);
                    match self.ask(&question, &facts) {
                        Decision::Final(verdict) if verdict.action == Action::Allow => None,
                        Decision::Final(verdict) => Some(verdict),
                        Decision::Pending { .. } => {
                            Some(self.undecided(question.policy, Reason::Undecided))
                        }
                    }
                })?
            }
        };
        self.tally.hit(question.policy, verdict);
        let flow = self.table.get_mut(id)?;
        if flow.is(Mark::Monitored) {
            flow.settle(verdict, Stage::Following);
            return None;
        }
        Some(verdict)
    }
}
