//! How the routes of one message stand beside each other: who is at work, who is held, and who waits for the others.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// How the branches of one message stand.
#[derive(Debug)]
pub(super) struct Together {
    standings: Mutex<Vec<Standing>>,
    /// Told when nobody is at work any more.
    rests: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its handler is called, or waits for its turn.
    AtWork,
    /// Its target is busy or down.
    Held,
    /// It failed, and waits for the others.
    Failed,
    Succeeded,
    /// It ended in another way.
    Over,
}

impl Together {
    pub(super) fn new(branches: usize) -> Self {
        Together { standings: Mutex::new(vec![Standing::AtWork; branches]), rests: Notify::new() }
    }

    /// The place of one of them.
    pub(super) fn place(&self, position: usize) -> Place<'_> {
        Place { together: self, position }
    }

    /// Waits until no branch is at work or held.
    async fn rests(&self) {
        loop {
            let told = self.rests.notified();
            if !self.standings().iter().any(|one| matches!(one, Standing::AtWork | Standing::Held)) {
                return;
            }
            told.await;
        }
    }

    fn standings(&self) -> MutexGuard<'_, Vec<Standing>> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one branch among those of its message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    together: &'a Together,
    position: usize,
}

impl Place<'_> {
    pub(super) fn stands(&self, standing: Standing) {
        if let Some(own) = self.together.standings().get_mut(self.position) {
            *own = standing;
        }
        self.together.rests.notify_waiters();
    }

    /// Waits until no branch is at work or held.
    pub(super) async fn others_rest(&self) {
        self.together.rests().await;
    }

    /// Its target is busy or down. Says whether the message needs its slot no longer.
    pub(super) fn is_held(&self) -> bool {
        self.stands(Standing::Held);
        self.only_waits()
    }

    /// Whether some branches are held by their targets, and none is at work.
    pub(super) fn only_waits(&self) -> bool {
        let standings = self.together.standings();
        !standings.contains(&Standing::AtWork)
            && standings.contains(&Standing::Held)
            && !mutant!("keep-the-slot-for-what-is-held")
    }

    /// It succeeded. Says whether all others have, too.
    pub(super) fn is_last_to_succeed(&self) -> bool {
        self.stands(Standing::Succeeded);
        self.together.standings().iter().all(|one| *one == Standing::Succeeded)
    }
}
