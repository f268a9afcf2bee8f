//! Boxes of flows: for every dimension what is still possible. Cut by what rules ask; whether names
//! leave anything is asked of the languages.

use super::asks::{Asks, Dimension, NUMBERS, NameAsk, NameDimension, Values};
use super::languages::SetId;
use super::ranges::Ranges;
use super::words::{Alphabet, Word};

/// What is still possible of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Symbol {
    /// There may be one.
    pub named: bool,
    /// There may be none.
    pub absent: bool,
    /// It may be hidden.
    pub hidden: bool,
    /// It may have been missed.
    pub missed: bool,
    /// A name is in all of these.
    pub wanted: Vec<SetId>,
    /// A name is in none of these.
    pub unwanted: Vec<SetId>,
}

/// A box of flows.
#[derive(Clone, Debug)]
pub struct Area {
    numbers: [Ranges; NUMBERS],
    names: [Symbol; 3],
}

/// Whether there is anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is.
    Some,
    /// There is not.
    None,
    /// The bound on names was met.
    NotProved,
}

impl Symbol {
    fn and(&mut self, ask: &NameAsk) {
        self.absent = false;
        self.hidden &= ask.hidden;
        self.missed &= ask.missed;
        if self.named && !self.wanted.contains(&ask.set) {
            self.wanted.push(ask.set);
        }
    }

    fn without(&mut self, ask: &NameAsk) {
        self.hidden &= !ask.hidden;
        self.missed &= !ask.missed;
        if self.named && !self.unwanted.contains(&ask.set) {
            self.unwanted.push(ask.set);
        }
    }

    /// Whether anything is left, names asked for last.
    pub(super) fn room(&self, dimension: NameDimension, values: &mut Values) -> Room {
        if self.absent || self.hidden || self.missed {
            return Room::Some;
        }
        if !self.named {
            return Room::None;
        }
        if dimension == NameDimension::San {
            return self.san_room(values);
        }
        room_of(&values.languages.word(dimension.alphabet(), &self.wanted, &self.unwanted))
    }

    /// A certificate may have several names: one for each set that is wanted.
    fn san_room(&self, values: &mut Values) -> Room {
        let mut room = Room::Some;
        for set in &self.wanted {
            match room_of(&values.languages.word(Alphabet::Text, &[*set], &self.unwanted)) {
                Room::Some => {}
                Room::None => return Room::None,
                Room::NotProved => room = Room::NotProved,
            }
        }
        room
    }
}

fn room_of(word: &Word) -> Room {
    match word {
        Word::Found(_) => Room::Some,
        Word::Nowhere => Room::None,
        Word::NotProved => Room::NotProved,
    }
}

impl NameDimension {
    /// Which words there are.
    #[must_use]
    pub const fn alphabet(self) -> Alphabet {
        match self {
            Self::San => Alphabet::Text,
            Self::Question => Alphabet::Question,
            Self::Domain => Alphabet::Host,
        }
    }
}

impl Area {
    /// A box.
    pub(super) const fn new(numbers: [Ranges; NUMBERS], names: [Symbol; 3]) -> Self {
        Self { numbers, names }
    }

    /// What is possible of a number.
    #[must_use]
    pub fn number(&self, dimension: Dimension) -> &Ranges {
        // The array has a place for every dimension.
        self.numbers.get(dimension as usize).unwrap_or(&self.numbers[0])
    }

    /// Puts something else in the place of a number.
    pub fn set(&mut self, dimension: Dimension, ranges: Ranges) {
        if let Some(slot) = self.numbers.get_mut(dimension as usize) {
            *slot = ranges;
        }
    }

    /// What is possible of a name.
    #[must_use]
    pub fn name(&self, dimension: NameDimension) -> &Symbol {
        self.names.get(dimension as usize).unwrap_or(&self.names[0])
    }

    /// Whether some number leaves nothing.
    fn is_void(&self) -> bool {
        self.numbers.iter().any(Ranges::is_empty)
    }

    /// The part that meets a rule; none if numbers leave nothing. Names are not asked yet.
    #[must_use]
    pub fn and(&self, asks: &Asks) -> Option<Self> {
        if !self.meets_numbers(asks) {
            return None;
        }
        let mut part = self.clone();
        for (slot, wanted) in part.numbers.iter_mut().zip(asks.numbers()) {
            if let Some(wanted) = wanted {
                *slot = slot.and(wanted);
            }
        }
        for dimension in NameDimension::ALL {
            if let (Some(ask), Some(slot)) =
                (asks.name(dimension), part.names.get_mut(dimension as usize))
            {
                slot.and(ask);
            }
        }
        (!part.is_void()).then_some(part)
    }

    /// Whether numbers leave something of a rule.
    fn meets_numbers(&self, asks: &Asks) -> bool {
        let mut pairs = self.numbers.iter().zip(asks.numbers());
        pairs.all(|(own, wanted)| wanted.as_ref().is_none_or(|wanted| own.meets(wanted)))
    }

    /// Whether the box is empty.
    pub fn room(&self, values: &mut Values) -> Room {
        if self.is_void() {
            return Room::None;
        }
        let mut room = Room::Some;
        for dimension in NameDimension::ALL {
            match self.name(dimension).room(dimension, values) {
                Room::Some => {}
                Room::None => return Room::None,
                Room::NotProved => room = Room::NotProved,
            }
        }
        room
    }

    /// The box without a rule, as boxes that do not overlap; itself alone if they do not meet.
    /// `true` says that some may be empty because names were not proved.
    #[must_use]
    pub fn without(&self, asks: &Asks, values: &mut Values) -> (Vec<Self>, bool) {
        let meets = self.and(asks).is_some_and(|both| both.room(values) != Room::None);
        if !meets {
            return (vec![self.clone()], false);
        }
        let mut pieces = Vec::new();
        let mut rest = self.clone();
        let mut not_proved = false;
        for (at, wanted) in asks.numbers().iter().enumerate() {
            let (Some(wanted), Some(own)) = (wanted, self.numbers.get(at)) else { continue };
            let outside = own.without(wanted);
            if !outside.is_empty() {
                let mut piece = rest.clone();
                if let Some(slot) = piece.numbers.get_mut(at) {
                    *slot = outside;
                }
                pieces.push(piece);
            }
            if let Some(slot) = rest.numbers.get_mut(at) {
                *slot = own.and(wanted);
            }
        }
        for dimension in NameDimension::ALL {
            let Some(ask) = asks.name(dimension) else { continue };
            let mut piece = rest.clone();
            if let Some(slot) = piece.names.get_mut(dimension as usize) {
                slot.without(ask);
            }
            match piece.name(dimension).room(dimension, values) {
                Room::Some => pieces.push(piece),
                Room::None => {}
                Room::NotProved => {
                    not_proved = true;
                    pieces.push(piece);
                }
            }
            if let Some(slot) = rest.names.get_mut(dimension as usize) {
                slot.and(ask);
            }
        }
        (pieces, not_proved)
    }
}
