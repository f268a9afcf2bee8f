//! ICMP errors: part of the flow they quote, or judged by the rules from the header they quote.

use super::decide::Question;
use super::{Engine, Parcel};
use crate::flow::FlowKey;
use crate::model::{Action, Facts, Reason, Verdict};
use crate::policy::{Decision, Located};
use crate::wire::Quoted;

impl Engine {
    /// Judges an ICMP error.
    pub(super) fn related(&mut self, parcel: &Parcel<'_>, quoted: &Quoted) -> Verdict {
        if !self.intact(parcel) {
            return Verdict::Drop(Reason::TransportChecksum);
        }
        let (key, _) = FlowKey::new(parcel.scope, &quoted.tuple);
        let hash = self.table.hash(&key);
        let Some(id) = self.table.lookup(&key, hash) else {
            return self.unrelated(parcel, quoted);
        };
        match self.table.get(id) {
            Some(flow) if flow.passes() || flow.stage() != super::state::Stage::Final => {
                Verdict::Forward
            }
            _ => Verdict::Drop(Reason::FlowDenied),
        }
    }

    /// An error about a flow that is not known here (GWLB spreads it differently): allowed if the
    /// rules would allow the flow it quotes, in either orientation.
    fn unrelated(&mut self, parcel: &Parcel<'_>, quoted: &Quoted) -> Verdict {
        let refused = Verdict::Drop(Reason::IcmpUnrelated);
        let facts = Facts::missed();
        for tuple in [quoted.tuple, quoted.tuple.reverse()] {
            let Located::Pair { from, to, from_proxy: false } =
                self.policy.locate(parcel.scope, tuple.src, tuple.dst)
            else {
                continue;
            };
            let policy = self.policy.block(from, to);
            let question = Question {
                scope: parcel.scope,
                policy,
                tuple,
                icmp: None,
                missed: true,
                bound: false,
            };
            let Decision::Final(verdict) = self.ask(&question, &facts) else { continue };
            if verdict.action == Action::Allow && self.gate.answer(self.now) {
                return Verdict::Forward;
            }
        }
        refused
    }
}
