//! Owns a queue of things that wait: they come out in order, and any of them may leave before its turn.
//!
//! Plain data. Never here: what waits, or for what.

use std::collections::VecDeque;

/// Things in the order of their numbers. Each step takes O(log n), averaged over the queue's life.
#[derive(Debug)]
pub(super) struct NumberedQueue<T> {
    /// The places, sorted by number. The thing of a place that was left is `None`; the first and the last place were
    /// never left.
    places: VecDeque<(u64, Option<T>)>,
    /// How many places have a thing.
    len: usize,
}

impl<T> NumberedQueue<T> {
    pub(super) fn new() -> Self {
        Self { places: VecDeque::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a thing at the end. The thing's number has to be above all that were added before.
    pub(super) fn push(&mut self, number: u64, thing: T) {
        debug_assert!(self.last_number().is_none_or(|last| last < number), "numbers only go up");
        self.places.push_back((number, Some(thing)));
        self.len += 1;
    }

    /// The number of the first thing.
    pub(super) fn first_number(&self) -> Option<u64> {
        self.places.front().map(|(number, _)| *number)
    }

    /// The number of the last thing.
    pub(super) fn last_number(&self) -> Option<u64> {
        self.places.back().map(|(number, _)| *number)
    }

    /// Takes the first thing out.
    pub(super) fn pop_first(&mut self) -> Option<T> {
        let (_, thing) = self.places.pop_front()?;
        self.len -= 1;
        self.tidy();
        thing
    }

    /// Takes the last thing out.
    pub(super) fn pop_last(&mut self) -> Option<T> {
        let (_, thing) = self.places.pop_back()?;
        self.len -= 1;
        self.tidy();
        thing
    }

    /// Takes out the thing with this number; `None` if it is not there any more.
    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let at = self.places.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        let thing = self.places[at].1.take()?;
        self.len -= 1;
        self.tidy();
        Some(thing)
    }

    /// The first thing.
    pub(super) fn first(&self) -> Option<&T> {
        self.places.front().and_then(|(_, thing)| thing.as_ref())
    }

    /// Adds things that came meanwhile, each at the place of its number. Takes O(n).
    pub(super) fn merge(&mut self, others: Self) {
        let mut places: Vec<_> = self.places.drain(..).chain(others.places).collect();
        places.retain(|(_, thing)| thing.is_some());
        places.sort_unstable_by_key(|(number, _)| *number);
        self.len = places.len();
        self.places = places.into();
    }

    /// The things in their order.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|(_, thing)| thing.as_ref())
    }

    /// The things in their order.
    pub(super) fn into_things(self) -> impl Iterator<Item = T> {
        self.places.into_iter().filter_map(|(_, thing)| thing)
    }

    /// Removes left places from both ends, and all of them when most places are left ones.
    fn tidy(&mut self) {
        while self.places.front().is_some_and(|(_, thing)| thing.is_none()) {
            self.places.pop_front();
        }
        while self.places.back().is_some_and(|(_, thing)| thing.is_none()) {
            self.places.pop_back();
        }
        if self.places.len() > 2 * self.len + FEW {
            self.places.retain(|(_, thing)| thing.is_some());
        }
    }
}

/// The number of left places up to which removing them is not worth the work.
const FEW: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_out_as_a_sorted_map_gives_them_whoever_leaves() {
        for round in 0..200 {
            let seed = fastrand::u64(..);
            let mut random = fastrand::Rng::with_seed(seed);
            let mut line = NumberedQueue::new();
            let mut model = std::collections::BTreeMap::new();
            for number in 0..random.u64(1..400) {
                match random.u8(0..8) {
                    0..4 => {
                        line.push(number, number * 7);
                        model.insert(number, number * 7);
                    }
                    4 => assert_eq!(line.pop_first(), model.pop_first().map(|(_, thing)| thing)),
                    5 => assert_eq!(line.pop_last(), model.pop_last().map(|(_, thing)| thing)),
                    _ => {
                        let any = random.u64(0..=number);
                        assert_eq!(line.remove(any), model.remove(&any));
                    }
                }
                if random.u8(0..40) == 0 {
                    let odd = line.places.iter().filter(|(number, _)| number % 2 == 1);
                    let odd: Vec<u64> = odd.map(|(number, _)| *number).collect();
                    let mut others = NumberedQueue::new();
                    for number in odd {
                        if let Some(thing) = line.remove(number) {
                            others.push(number, thing);
                        }
                    }
                    line.merge(others);
                }
                assert_eq!(line.first(), model.first_key_value().map(|(_, thing)| thing));
                let ends = [model.first_key_value(), model.last_key_value()];
                let ends = ends.map(|end| end.map(|(number, _)| *number));
                assert_eq!([line.first_number(), line.last_number()], ends, "round {round}, seed {seed}");
                assert_eq!((line.len(), line.is_empty()), (model.len(), model.is_empty()), "seed {seed}");
                assert!(line.iter().eq(model.values()), "round {round}, seed {seed}");
            }
            assert!(line.into_things().eq(model.into_values()), "round {round}, seed {seed}");
        }
    }

    #[test]
    fn places_that_were_left_take_no_memory_for_long() {
        let mut line = NumberedQueue::new();
        line.push(0, 0);
        for number in 1..10_000 {
            line.push(number, number);
            if number > 3 {
                assert_eq!(line.remove(number - 2), Some(number - 2));
            }
            assert!(line.places.len() <= 2 * line.len() + FEW, "{} places", line.places.len());
        }
    }
}
