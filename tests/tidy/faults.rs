//! A guard names all that it finds, not the first: whoever puts a list right is not sent round once for each entry.

/// What a guard found.
pub(crate) struct Faults(Vec<String>);

impl Faults {
    pub(crate) fn add(&mut self, fault: impl Into<String>) {
        self.0.push(fault.into());
    }

    pub(crate) fn unless(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.0.push(fault());
        }
    }
}

/// Runs a guard to its end, then fails with everything that it found.
pub(crate) fn gather(look: impl FnOnce(&mut Faults)) {
    let mut faults = Faults(Vec::new());
    look(&mut faults);
    assert!(faults.0.is_empty(), "{} faults:\n{}", faults.0.len(), faults.0.join("\n"));
}

#[test]
fn every_fault_is_named_before_the_test_fails() {
    let found = std::panic::catch_unwind(|| {
        gather(|faults| {
            faults.add("the first");
            faults.unless(true, || "none".into());
            faults.unless(false, || "the last".into());
        });
    });
    let text = *found.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(text, "2 faults:\nthe first\nthe last");
}
