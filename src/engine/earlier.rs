//! What a flow was allowed by before the message that was decided last, asked about again with that one.
//! What it asks next is decided when it comes.

use super::Engine;
use super::decide::Question;
use super::entry::Mark;
use crate::flow::FlowId;
use crate::model::{Action, App, DomainName, Fact, Facts, FlowVerdict, Protocol};
use crate::policy::{Decision, Policy};
use std::sync::Arc;

impl Engine {
    /// The first of what a flow was allowed by, before its last message, that `policy` does not allow
    /// any more, and its name. Streams and connections that were begun for it may go on beside the last
    /// one: nobody follows them to their end. `facts` are those of the last message; names of which none
    /// is kept are missed. Questions of DNS are over with their answers.
    pub(super) fn revoked(
        &self,
        policy: &Policy,
        id: FlowId,
        question: &Question,
        facts: &Facts,
    ) -> Option<(FlowVerdict, Option<Arc<DomainName>>)> {
        let flow = self.table.get(id).filter(|flow| !flow.is(Mark::Midstream))?;
        if facts.app.known() == Some(&App::Dns) {
            return None;
        }
        let denied = |domain: Fact<Arc<DomainName>>| {
            let asked = earlier(facts, domain, question.tuple.protocol);
            let verdict = match self.ask_of(policy, question, &asked) {
                Decision::Final(verdict) => verdict,
                Decision::Pending { .. } => policy.otherwise(question.policy?),
            };
            (verdict.action != Action::Allow).then_some(verdict)
        };
        let told = self.found(flow.case, self.cases.get(flow.case));
        let others = told.names.all().iter().filter(|name| facts.domain.known() != Some(name));
        for name in others {
            if let Some(verdict) = denied(Fact::Known(Arc::clone(name))) {
                return Some((verdict, Some(Arc::clone(name))));
            }
        }
        let address = !told.host_addresses.is_empty() && facts.domain != Fact::Absent;
        let address = address.then_some(Fact::Absent);
        let left_out = (told.names.left_out() > 0).then_some(Fact::Missed);
        let verdict = address.into_iter().chain(left_out).find_map(denied)?;
        Some((verdict, None))
    }

    /// Notes for which of its names a flow ends, or that there is none.
    pub(super) fn note_denied(&mut self, id: FlowId, name: Option<Arc<DomainName>>) {
        match name {
            Some(name) => drop(self.denied_names.insert(id.index(), name)),
            None => drop(self.denied_names.remove(&id.index())),
        }
    }
}

/// What is known of an earlier message that asked for `domain`, given the last one. On a stream that
/// speaks something else by now it was the request that led there; which API a request named is not kept.
fn earlier(last: &Facts, domain: Fact<Arc<DomainName>>, protocol: Protocol) -> Facts {
    let mut facts = last.clone();
    if protocol == Protocol::TCP {
        facts.settle_without_names(App::Http);
        facts.api_id = Fact::Missed;
    }
    facts.domain = domain;
    facts
}
