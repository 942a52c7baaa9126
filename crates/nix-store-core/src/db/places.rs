//! Rows by their numbers.

/// The places of rows in a list, by the numbers of the rows.
pub(super) enum Places {
    /// Indexed by the number.
    Dense(Vec<u32>),
    /// Sorted by the number.
    Sparse(Vec<(i64, u32)>),
}

impl Places {
    /// `ids` has the numbers of the rows, in the order of the list.
    pub(super) fn new(ids: impl ExactSizeIterator<Item = i64> + Clone) -> Self {
        let count = ids.len();
        let last = ids.clone().max().unwrap_or(0);
        let numbered = ids.zip(0..);
        match usize::try_from(last) {
            Ok(last) if last / DENSE <= count + SPARE => {
                let mut dense = vec![NOTHING; last + 1];
                for (id, place) in numbered {
                    if let Some(slot) = usize::try_from(id).ok().and_then(|id| dense.get_mut(id)) {
                        *slot = place;
                    }
                }
                Self::Dense(dense)
            }
            _ => {
                let mut sparse: Vec<_> = numbered.collect();
                sparse.sort_unstable();
                Self::Sparse(sparse)
            }
        }
    }

    /// The place of the row with this number.
    pub(super) fn find(&self, id: i64) -> Option<u32> {
        match self {
            Self::Dense(dense) => {
                let place = dense.get(usize::try_from(id).ok()?).copied();
                place.filter(|&place| place != NOTHING)
            }
            Self::Sparse(sparse) => {
                let found = sparse.binary_search_by_key(&id, |&(id, _)| id);
                found.ok().map(|index| sparse[index].1)
            }
        }
    }
}

const NOTHING: u32 = u32::MAX;
/// How many numbers for each row make a list by number too long.
const DENSE: usize = 16;
const SPARE: usize = 1 << 16;
