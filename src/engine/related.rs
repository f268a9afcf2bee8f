//! ICMP errors: part of the flow they quote, or judged by the rules from the header they quote.

use super::decide::Question;
use super::state::Stage;
use super::{Engine, Parcel};
use crate::flow::{FlowKey, Found};
use crate::model::{Action, Direction, Facts, Reason, Verdict};
use crate::policy::{Decision, Located};
use crate::wire::Quoted;

impl Engine {
    /// Judges an ICMP error.
    pub(super) fn related(&mut self, parcel: &Parcel<'_>, quoted: &Quoted) -> Verdict {
        if !self.intact(parcel) {
            return Verdict::Drop(Reason::TransportChecksum);
        }
        // An error goes to whoever sent what it quotes (RFC 1122 section 3.2.2, RFC 4443 section 2.2):
        // to anyone else its bytes would travel under the name of a flow that is not theirs.
        if parcel.packet.tuple.dst != quoted.tuple.src {
            return Verdict::Drop(Reason::IcmpUnrelated);
        }
        let (key, reversed) = FlowKey::new(parcel.scope, &quoted.tuple);
        let hash = self.table.hash(&key);
        let Found::Live(id) = self.table.find(&key, hash, self.now) else {
            return self.unrelated(parcel, quoted);
        };
        let Some(flow) = self.table.get(id) else { return self.unrelated(parcel, quoted) };
        if flow.epoch(self.epoch.0) != self.epoch.0 {
            // Its next packet decides it anew; what was decided before counts no more.
            return self.unrelated(parcel, quoted);
        }
        match flow.stage() {
            // Nothing of the client's travels before its flow is decided.
            Stage::Pending if flow.direction(reversed) == Direction::Reply => {
                Verdict::Drop(Reason::IcmpUnrelated)
            }
            Stage::Following if self.is_shut(flow) => Verdict::Drop(Reason::FlowDenied),
            Stage::Final if !flow.passes() => Verdict::Drop(Reason::FlowDenied),
            _ => Verdict::Forward,
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
                shortlist: None,
            };
            let Decision::Final(verdict) = self.ask(&question, &facts) else { continue };
            if verdict.action == Action::Allow && self.gate.answer(self.now) {
                return Verdict::Forward;
            }
        }
        refused
    }
}
