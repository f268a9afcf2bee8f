//! The transitions: what a segment other than plain data of an open connection does.

use super::windows::after;
use super::{ANY_UNSEEN, FIN, Segment, TcpEvent, TcpState, TcpTracker, UNSEEN, flag};
use crate::model::{Direction, Reason};

use TcpState::{
    CloseWait, Closed, Established, FinWait, LastAck, Reset, SimultaneousOpen, SynReceived,
    SynSent, TimeWait,
};

impl TcpTracker {
    pub(super) fn observe_rare(
        &mut self,
        direction: Direction,
        segment: &Segment,
    ) -> Result<TcpEvent, Reason> {
        if segment.has(flag::RST) {
            return self.observe_rst(direction, segment);
        }
        match (segment.has(flag::SYN), segment.has(flag::ACK)) {
            (true, false) => self.observe_syn(direction, segment),
            (true, true) => self.observe_syn_ack(direction, segment),
            (false, true) => self.observe_ack(direction, segment),
            // RFC 9293 section 3.10.7.4: without ACK a segment of an open connection is dropped.
            (false, false) => Err(Reason::TcpState),
        }
    }

    /// A SYN without ACK: opens, repeats, crosses another one, or starts anew.
    fn observe_syn(&mut self, direction: Direction, syn: &Segment) -> Result<TcpEvent, Reason> {
        match (self.state(), direction) {
            (TimeWait | Closed | Reset, _) => Ok(TcpEvent::Reopen),
            (SynSent, Direction::Reply) => {
                self.begin(Direction::Reply, syn);
                self.settle_windows();
                self.set_state(SimultaneousOpen);
                Ok(TcpEvent::Accepted)
            }
            (state, _) if self.is_repeated_syn(state, direction, syn) => {
                // Fast Open data may be there on one attempt and not on the next.
                let side = self.side_mut(direction);
                if state == SynSent && after(syn.end(), side.end) {
                    side.end = syn.end();
                    side.max_end = side.end;
                }
                Ok(TcpEvent::Accepted)
            }
            _ => Ok(TcpEvent::CandidateSyn { seq: syn.seq }),
        }
    }

    /// Whether a SYN is the one that opened the connection, come again while the handshake goes on.
    /// Later none is: a server that forgot the connection unseen takes the same number for another
    /// one, and only its answer tells.
    fn is_repeated_syn(&self, state: TcpState, direction: Direction, syn: &Segment) -> bool {
        let end = self.side(direction).end;
        let back = end.wrapping_sub(syn.seq).wrapping_sub(1);
        let handshake = matches!(state, SynSent | SimultaneousOpen | SynReceived);
        match direction {
            Direction::Original => handshake && syn.seq as u16 == self.isn && back < 1 << 16,
            Direction::Reply => state == SimultaneousOpen && end == syn.end(),
        }
    }

    fn observe_syn_ack(
        &mut self,
        direction: Direction,
        segment: &Segment,
    ) -> Result<TcpEvent, Reason> {
        match (self.state(), direction) {
            (SynSent, Direction::Reply) => {
                // All of the SYN, or the SYN without its data (RFC 7413 section 4.2.2), or a part
                // of that data is acknowledged.
                let end = self.side(Direction::Original).end;
                let spare = end.wrapping_sub(segment.ack);
                let sent = end.wrapping_sub(u32::from(self.isn)) as u16;
                if spare >= u32::from(sent) {
                    return Err(Reason::TcpWindow);
                }
                self.begin(Direction::Reply, segment);
                self.settle_windows();
                self.account(Direction::Reply, segment);
                self.set_state(SynReceived);
                Ok(TcpEvent::Accepted)
            }
            (SimultaneousOpen, _) => {
                self.check(direction, segment)?;
                self.set_state(SynReceived);
                Ok(TcpEvent::Accepted)
            }
            (SynReceived, Direction::Original) => {
                // Only where both sides opened at once.
                self.check(direction, segment)?;
                if segment.end() != self.side(direction).end {
                    return Err(Reason::TcpState);
                }
                self.set_state(Established);
                Ok(TcpEvent::Established)
            }
            (SynSent | Established | FinWait | CloseWait | LastAck, Direction::Original) => {
                Err(Reason::TcpState)
            }
            (TimeWait | Closed | Reset, _) => Err(Reason::TcpClosed),
            // Repeated, as its acknowledgement was lost; it changes nothing.
            (_, Direction::Reply) => {
                self.check(direction, segment)?;
                if after(segment.end(), self.side(direction).end) {
                    return Err(Reason::TcpWindow);
                }
                Ok(TcpEvent::Accepted)
            }
        }
    }

    fn observe_ack(&mut self, direction: Direction, segment: &Segment) -> Result<TcpEvent, Reason> {
        match (self.state(), direction) {
            (Closed | Reset, _) => return Err(Reason::TcpClosed),
            (SynSent, Direction::Reply) if segment.end() == segment.seq => {
                // A server that still holds an older connection asks what this is (RFC 9293
                // section 3.5.1); the client answers with RST and both can start over.
                return Ok(TcpEvent::Accepted);
            }
            (SynSent, _) => return Err(Reason::TcpState),
            _ => {}
        }
        if self.status.get() & ANY_UNSEEN != 0 {
            self.meet(direction, segment);
        } else {
            self.check(direction, segment)?;
        }
        if self.sent_fin(direction) && after(segment.end(), self.side(direction).end) {
            return Err(Reason::TcpState);
        }
        self.account(direction, segment);
        let opens = match self.state() {
            SynReceived => direction == Direction::Original,
            SimultaneousOpen => true,
            _ => false,
        };
        if opens {
            self.set_state(Established);
        }
        Ok(match self.close_step(direction, segment) {
            TcpEvent::Accepted if opens => TcpEvent::Established,
            event => event,
        })
    }

    /// What FIN and the acknowledgement of a FIN do. Both may be in one segment.
    pub(super) fn close_step(&mut self, direction: Direction, segment: &Segment) -> TcpEvent {
        let other = direction.flip();
        let mut event = TcpEvent::Accepted;
        let acknowledges = segment.has(flag::ACK) && segment.ack == self.side(other).end;
        if acknowledges && self.bit(FIN, other) {
            match self.state() {
                FinWait => self.set_state(CloseWait),
                LastAck => self.set_bit(FIN, other, false),
                _ => {}
            }
        }
        if segment.has(flag::FIN) {
            match self.state() {
                SynReceived | SimultaneousOpen | Established => {
                    self.set_state(FinWait);
                    self.set_bit(FIN, direction, true);
                    event = TcpEvent::Closing;
                }
                FinWait if !self.bit(FIN, direction) => {
                    self.set_state(LastAck);
                    self.set_bit(FIN, direction, true);
                }
                CloseWait if !self.bit(FIN, direction) => {
                    // The other side's FIN is acknowledged: from here on the bits are those of
                    // FINs that are not.
                    self.set_state(LastAck);
                    self.set_bit(FIN, other, false);
                    self.set_bit(FIN, direction, true);
                }
                _ => {}
            }
        }
        let outstanding = self.bit(FIN, Direction::Original) || self.bit(FIN, Direction::Reply);
        if self.state() == LastAck && !outstanding {
            self.set_state(TimeWait);
            event = TcpEvent::Closed;
        }
        event
    }

    fn sent_fin(&self, direction: Direction) -> bool {
        match self.state() {
            FinWait | CloseWait => self.bit(FIN, direction),
            LastAck | TimeWait => true,
            _ => false,
        }
    }

    /// RFC 9293 section 3.5.3 and RFC 5961 section 3.2.
    fn observe_rst(&mut self, direction: Direction, rst: &Segment) -> Result<TcpEvent, Reason> {
        match (self.state(), direction) {
            (Closed, _) => return Err(Reason::TcpClosed),
            (SynSent, Direction::Reply) => {
                let end = self.side(Direction::Original).end;
                let back = end.wrapping_sub(rst.ack);
                let sent = end.wrapping_sub(u32::from(self.isn)) as u16;
                if !rst.has(flag::ACK) || back >= u32::from(sent) {
                    return Err(Reason::TcpWindow);
                }
                self.set_state(Reset);
                return Ok(TcpEvent::Reset);
            }
            (SynSent, Direction::Original) => {
                // Either it gives up, or it answers a server that holds an older connection; the
                // latter's sequence numbers are not ours to judge.
                let exact = rst.seq == self.side(direction).end;
                if exact {
                    self.set_state(Reset);
                }
                return Ok(if exact { TcpEvent::Reset } else { TcpEvent::DoubtfulReset });
            }
            _ => {}
        }
        if self.bit(UNSEEN, direction) {
            // Of this side only what was acknowledged is known.
            return Ok(self.rst_at(direction, rst));
        }
        self.check_seq(direction, rst)?;
        if self.state() == Reset {
            return Ok(TcpEvent::Accepted);
        }
        Ok(self.rst_at(direction, rst))
    }

    fn rst_at(&mut self, direction: Direction, rst: &Segment) -> TcpEvent {
        if rst.seq != self.side(direction).end {
            return TcpEvent::DoubtfulReset;
        }
        self.set_state(Reset);
        TcpEvent::Reset
    }
}
