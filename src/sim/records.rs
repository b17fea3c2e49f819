//! Records of what happened, which don't grow for ever: when there are too many, the older half is forgotten.

use std::ops::Deref;

/// How many a list of records holds, if nothing else is said: more than any usual test makes.
pub const MANY: usize = 1 << 18;

/// The newest of what happened, oldest first.
#[derive(Debug)]
pub struct Newest<T> {
    records: Vec<T>,
    most: usize,
}

impl<T> Newest<T> {
    /// At most so many.
    pub fn new(most: usize) -> Self {
        Self { records: Vec::new(), most: most.max(2) }
    }

    /// Whether the next one makes it forget others.
    pub fn is_full(&self) -> bool {
        self.records.len() >= self.most
    }

    /// Adds one. Gives those that are forgotten for it, if any.
    pub fn push(&mut self, record: T) -> Vec<T> {
        let forgotten = if self.is_full() { self.records.drain(..self.most / 2).collect() } else { Vec::new() };
        self.records.push(record);
        forgotten
    }

    /// Holds another number from now on. Gives those that are forgotten for it.
    pub fn limit(&mut self, most: usize) -> Vec<T> {
        self.most = most.max(2);
        let over = self.records.len().saturating_sub(self.most);
        self.records.drain(..over).collect()
    }
}

impl<T> Deref for Newest<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_half_is_forgotten() {
        let mut newest = Newest::new(10);
        let forgotten: Vec<u32> = (0..12).flat_map(|n| newest.push(n)).collect();
        assert_eq!((forgotten, &*newest), (vec![0, 1, 2, 3, 4], &[5, 6, 7, 8, 9, 10, 11][..]));
        assert_eq!((newest.limit(3), &*newest), (vec![5, 6, 7, 8], &[9, 10, 11][..]));
        assert_eq!((newest.push(12), &*newest), (vec![9], &[10, 11, 12][..]));
    }
}
