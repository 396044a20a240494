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

impl Persons {
    /// Of rows whose persons go by these names, in the table's order. A row without a name belongs to nobody; names are one person's
    /// where they are the same text.
    pub(crate) fn of<'a>(names: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        // A person is numbered by their first row.
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        let mut rows: Vec<Vec<usize>> = Vec::new();
        for (row, name) in names.into_iter().enumerate() {
            let Some(name) = name else { continue };
            let person = *known.entry(name).or_insert(rows.len());
            match rows.get_mut(person) {
                Some(rows) => rows.push(row),
                None => rows.push(vec![row]),
            }
        }
        let mut persons = Self { starts: vec![0], rows: Vec::new() };
        for rows in rows {
            persons.rows.extend(rows);
            persons.starts.push(persons.rows.len());
        }
        persons
    }

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
        rows.unwrap_or_default().iter().copied()
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
        let persons = Persons::of([Some("b"), Some("a"), None, Some("b"), Some("B"), Some("b")]);
        assert_eq!((persons.len(), persons.rows_of_all(), persons.rows_max()), (3, 5, 3));
        let rows = |person| persons.rows(person).collect::<Vec<_>>();
        assert_eq!([rows(0), rows(1), rows(2), rows(3)], [vec![0, 3, 5], vec![1], vec![4], vec![]]);
        let nobody = Persons::of([None, None]);
        assert!(nobody.is_empty() && nobody.rows_max() == 0);
    }
}
