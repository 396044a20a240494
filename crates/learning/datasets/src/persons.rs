//! Whose rows are whose.

use std::collections::BTreeMap;

/// The rows of each person of a table.
///
/// # Privacy
/// Names are compared and forgotten: what is held says which rows belong together, and not whose they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Persons {
    /// Where in `rows` each person's begin, and behind the last one its end.
    starts: Vec<usize>,
    /// Rows by person, in the table's order.
    rows: Vec<usize>,
}

/// Whose rows are whose while they are read. A person is numbered by their first row.
#[derive(Default)]
pub(crate) struct Naming {
    known: BTreeMap<Box<str>, usize>,
    of_rows: Vec<Option<usize>>,
}

impl Naming {
    /// The next row's person by name; a row without one belongs to nobody. Names are one person's where they are the same text.
    ///
    /// Gives the person's number, by which the row is named in the digest of the table's content.
    pub(crate) fn push(&mut self, name: Option<&str>) -> Option<usize> {
        let person = name.map(|name| {
            let next = self.known.len();
            match self.known.get(name) {
                Some(person) => *person,
                None => *self.known.entry(name.into()).or_insert(next),
            }
        });
        self.of_rows.push(person);
        person
    }

    /// The rows by person.
    pub(crate) fn finish(self) -> Persons {
        let mut rows: Vec<Vec<usize>> = vec![Vec::new(); self.known.len()];
        for (row, person) in self.of_rows.into_iter().enumerate() {
            if let Some(rows) = person.and_then(|person| rows.get_mut(person)) {
                rows.push(row);
            }
        }
        let mut persons = Persons { starts: vec![0], rows: Vec::new() };
        for rows in rows {
            persons.rows.extend(rows);
            persons.starts.push(persons.rows.len());
        }
        persons
    }
}

impl Persons {
    /// How many persons.
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A person's rows, in the table's order; none where there is no such person.
    pub fn rows(&self, person: usize) -> impl Iterator<Item = usize> + '_ {
        let bounds = self.starts.get(person).zip(self.starts.get(person + 1));
        let rows = bounds.and_then(|(start, end)| self.rows.get(*start..*end));
        rows.into_iter().flatten().copied()
    }

    /// Every row that is somebody's.
    pub fn rows_of_each(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().copied()
    }

    /// How many rows belong to somebody.
    pub fn rows_of_all(&self) -> usize {
        self.rows.len()
    }

    /// Most rows of one person.
    pub fn rows_max(&self) -> usize {
        let ends = self.starts.iter().skip(1);
        self.starts.iter().zip(ends).map(|(start, end)| end - start).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_gathered_by_person_in_the_tables_order_and_some_are_nobodys() {
        let of = |names: &[Option<&str>]| {
            let mut naming = Naming::default();
            for name in names {
                naming.push(*name);
            }
            naming.finish()
        };
        let persons = of(&[Some("b"), Some("a"), None, Some("b"), Some("B"), Some("b")]);
        assert_eq!((persons.len(), persons.rows_of_all(), persons.rows_max()), (3, 5, 3));
        let rows = |person| persons.rows(person).collect::<Vec<_>>();
        assert_eq!([rows(0), rows(1), rows(2), rows(3)], [vec![0, 3, 5], vec![1], vec![4], vec![]]);
        let nobody = of(&[None, None]);
        assert!(nobody.is_empty() && nobody.rows_max() == 0);
    }
}
