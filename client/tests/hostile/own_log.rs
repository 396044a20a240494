//! What a silo's own log tells of its data and its trainers, where others see no difference.

use std::path::Path;

/// Of a silo that has ended.
pub(crate) struct OwnLog {
    actions: Vec<String>,
    /// All of it, as it lies on the disk.
    journal: Vec<u8>,
}

impl OwnLog {
    pub(crate) fn of(folder: &Path) -> Self {
        let audit = folder.join("state/audit");
        let mut actions = Vec::new();
        let event = |shown: &audit::ShownEvent<'_>| {
            let shown: serde_json::Value = serde_json::from_str(&shown.json()).unwrap();
            actions.push(shown["event"]["action"].as_str().unwrap().to_owned());
            true
        };
        audit::read_events(&audit, &audit::Wanted::default(), event).unwrap();
        Self { actions, journal: std::fs::read(audit.join("journal")).unwrap() }
    }

    fn has(&self, action: &str) -> bool {
        self.actions.iter().any(|had| had == action)
    }

    /// Training came to nothing over what the trainer answered, or did not.
    pub(crate) fn check_lie(&self, lie: &str, of_numbers: bool) {
        assert!(self.has("contribution.replaced"), "{lie}: {:?}", self.actions);
        // One that is never ready did not start.
        assert_eq!(lie != "NeverReady", self.has("trainer.started"), "{lie}: {:?}", self.actions);
        if lie == "Late" {
            // Whether its answer is heard before it is ended is chance: heard, it is honest, and no failure of the trainer's.
            return;
        }
        assert_eq!(lie != "NeverReady", self.has("trainer.ended"), "{lie}: {:?}", self.actions);
        assert!(self.has("trainer.failed"), "{lie}: {:?}", self.actions);
        // A frame that is too long is not looked into.
        let is_read = of_numbers && lie != "OneTooMany";
        assert!(!is_read || self.has("trainer.disbelieved"), "{lie}: {:?}", self.actions);
    }

    /// The log of a round over a table: of one in which training failed, of one with a row, `case`, that does not fit, or of another.
    pub(crate) fn check(&self, case: &str, is_misfit: bool) {
        let (actions, fails) = (&self.actions, ["Panic", "Hang", "Memory", "Error"].contains(&case));
        assert!(self.has("trainer.started"), "{case}: {actions:?}");
        let happened = ["trainer.failed", "contribution.replaced"].map(|action| self.has(action));
        assert_eq!(happened, [fails; 2], "{case}: {actions:?}");
        if fails || case == "fits" {
            assert!(self.has("data.opened") && !self.has("data.misfit"), "{case}: {actions:?}");
        } else {
            assert!(self.has("data.misfit") || self.has("data.unusable"), "{case}: {actions:?}");
        }
        if is_misfit {
            let cell = |bytes: &[u8]| bytes == case.as_bytes();
            assert!(!self.journal.windows(case.len()).any(cell), "{case} is in the log");
        }
    }
}
