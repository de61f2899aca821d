//! What would become of an app's list of hooks, as data: shown, asked about and tested before it is done.

use std::fmt;

use super::hook::Hook;

/// Why no plan can be made or carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Writing the list would write a mask in place of a secret.
    #[error("the hook {hook} shows its {field} masked, and writing the list back would destroy it")]
    Masked {
        /// The type of the hook and where it leads.
        hook: String,
        /// The field.
        field: String,
    },
    /// The list is another than the one that the plan was made from.
    #[error("the hooks have changed since the plan was made: {}", listed(.0))]
    Changed(Vec<Difference>),
    /// There is no hook at the place to be replaced or removed.
    #[error("there is no such hook")]
    NoSuchHook,
}

fn listed(differences: &[Difference]) -> String {
    differences.iter().map(Difference::to_string).collect::<Vec<_>>().join("; ")
}

/// One hook that is not as it should be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Difference {
    /// A hook that should be there is not.
    Missing(Hook),
    /// A hook that should not be there is.
    Unexpected(Hook),
    /// A hook has other values in these fields.
    Changed(Hook, Vec<String>),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Missing(hook) => write!(f, "{} is missing", name(hook)),
            Difference::Unexpected(hook) => write!(f, "{} is new", name(hook)),
            Difference::Changed(hook, fields) => write!(f, "{} differs in {}", name(hook), fields.join(", ")),
        }
    }
}

/// A hook in a few words: its type, and where it leads without what a path or a query may carry.
fn name(hook: &Hook) -> String {
    let target = hook.target();
    let end = target.find(['?', '#']).unwrap_or(target.len());
    let id = hook.id().map(|id| format!(" ({id})")).unwrap_or_default();
    format!("{} {}{id}", hook.hook_type(), target[..end].escape_debug())
}

#[derive(Clone, Debug)]
enum Change {
    Nothing,
    Add(Hook),
    Replace(usize, Hook),
    Remove(usize),
    /// Put a saved list in the place of the whole one.
    All(Vec<Hook>),
}

/// The list as it was read, and the one change that is to be made. All other hooks stay as they are.
#[derive(Clone, Debug)]
pub struct HookPlan {
    before: Vec<Hook>,
    change: Change,
}

impl HookPlan {
    /// Changes nothing.
    pub fn keep(before: Vec<Hook>) -> Self {
        HookPlan { before, change: Change::Nothing }
    }

    /// Adds a hook at the end.
    pub fn add(before: Vec<Hook>, hook: Hook) -> Self {
        HookPlan { before, change: Change::Add(hook) }
    }

    /// Puts `hook` in the place of the one at `index`, as a whole.
    ///
    /// # Errors
    ///
    /// Where there is none at `index`.
    pub fn replace(before: Vec<Hook>, index: usize, hook: Hook) -> Result<Self, PlanError> {
        if index >= before.len() {
            return Err(PlanError::NoSuchHook);
        }
        Ok(HookPlan { before, change: Change::Replace(index, hook) })
    }

    /// Takes the one at `index` away.
    ///
    /// # Errors
    ///
    /// Where there is none at `index`.
    pub fn remove(before: Vec<Hook>, index: usize) -> Result<Self, PlanError> {
        if index >= before.len() {
            return Err(PlanError::NoSuchHook);
        }
        Ok(HookPlan { before, change: Change::Remove(index) })
    }

    /// Puts a saved list in the place of the one that is there: the only plan that may take several hooks away.
    pub fn restore(before: Vec<Hook>, saved: Vec<Hook>) -> Self {
        HookPlan { before, change: Change::All(saved) }
    }

    /// The list that the plan was made from.
    pub fn before(&self) -> &[Hook] {
        &self.before
    }

    /// The list as it is to be.
    pub fn after(&self) -> Vec<Hook> {
        let mut after = self.before.clone();
        match &self.change {
            Change::Nothing => {}
            Change::Add(hook) => after.push(hook.clone()),
            Change::Replace(index, hook) => {
                if let Some(place) = after.get_mut(*index) {
                    *place = hook.clone();
                }
            }
            Change::Remove(index) => {
                if *index < after.len() {
                    after.remove(*index);
                }
            }
            Change::All(saved) => after.clone_from(saved),
        }
        after
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        match &self.change {
            Change::Nothing => true,
            Change::All(saved) => differences(saved, &self.before).is_empty(),
            _ => false,
        }
    }

    /// Whether a hook of the list as it is would be gone.
    pub fn takes_away(&self) -> bool {
        match &self.change {
            Change::Remove(_) => true,
            Change::All(saved) => {
                differences(saved, &self.before).iter().any(|one| matches!(one, Difference::Unexpected(_)))
            }
            _ => false,
        }
    }

    /// The hook that is taken away, where the plan takes one away.
    pub(super) fn removed(&self) -> Option<&Hook> {
        match self.change {
            Change::Remove(index) => self.before.get(index),
            _ => None,
        }
    }

    /// Refuses to write a list in which a secret is masked. The hook that the plan itself writes is its own business, and
    /// the one that it takes away is not written.
    ///
    /// # Errors
    ///
    /// [`PlanError::Masked`] names the first one.
    pub fn check(&self) -> Result<(), PlanError> {
        for hook in self.after() {
            if let Some(field) = hook.masked_secret() {
                return Err(PlanError::Masked { hook: name(&hook), field });
            }
        }
        Ok(())
    }

    /// Refuses where the list as it is now is not the one that the plan was made from.
    pub(super) fn check_unchanged(&self, now: &[Hook]) -> Result<(), PlanError> {
        let differences = differences(&self.before, now);
        if differences.is_empty() { Ok(()) } else { Err(PlanError::Changed(differences)) }
    }

    /// In what a list that was read back is not the one that was to be.
    pub fn differences(&self, read: &[Hook]) -> Vec<Difference> {
        differences(&self.after(), read)
    }
}

/// In what `read` is not `expected`, whatever the order. A hook with an id is looked for by it; one without, which is new,
/// among those whose id was not expected.
fn differences(expected: &[Hook], read: &[Hook]) -> Vec<Difference> {
    let mut rest: Vec<&Hook> = read.iter().collect();
    let mut found = Vec::new();
    let (known, new): (Vec<&Hook>, Vec<&Hook>) = expected.iter().partition(|hook| hook.id().is_some());
    for hook in known {
        let Some(place) = rest.iter().position(|other| other.id() == hook.id()) else {
            found.push(Difference::Missing(hook.clone()));
            continue;
        };
        let fields = hook.differing_fields(rest.remove(place));
        if !fields.is_empty() {
            found.push(Difference::Changed(hook.clone(), fields));
        }
    }
    for hook in new {
        let place = rest.iter().position(|other| hook.fields_missing_in(other).is_empty());
        let alike = |other: &&Hook| other.hook_type() == hook.hook_type() && other.target() == hook.target();
        match (place, rest.iter().position(alike)) {
            (Some(place), _) => drop(rest.remove(place)),
            (None, Some(place)) => {
                let fields = hook.fields_missing_in(rest.remove(place));
                found.push(Difference::Changed(hook.clone(), fields));
            }
            (None, None) => found.push(Difference::Missing(hook.clone())),
        }
    }
    found.extend(rest.into_iter().cloned().map(Difference::Unexpected));
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    fn hook(id: &str) -> Hook {
        Hook::new("webhook").with("id", id).with("webhook_url", format!("https://example.com/{id}"))
    }

    fn ids(hooks: &[Hook]) -> Vec<String> {
        hooks.iter().filter_map(Hook::id).collect()
    }

    #[test]
    fn a_plan_changes_the_one_hook_that_it_names() {
        let before = vec![hook("a"), hook("b"), hook("c")];
        let added = HookPlan::add(before.clone(), Hook::new("sqs"));
        assert_eq!((ids(&added.after()), added.after().len()), (ids(&before), 4));
        let replaced = HookPlan::replace(before.clone(), 1, hook("x")).unwrap();
        assert_eq!(ids(&replaced.after()), ["a", "x", "c"]);
        let removed = HookPlan::remove(before.clone(), 1).unwrap();
        assert_eq!(
            (ids(&removed.after()), removed.removed().and_then(Hook::id)),
            (vec!["a".into(), "c".into()], Some("b".into()))
        );
        assert!(HookPlan::keep(before.clone()).is_empty() && !added.is_empty());
        assert!(HookPlan::restore(before.clone(), before.clone()).is_empty());
        for index in [3, usize::MAX] {
            assert!(HookPlan::remove(before.clone(), index).is_err());
            assert!(HookPlan::replace(before.clone(), index, hook("x")).is_err());
        }
    }

    #[test]
    fn what_was_read_back_is_compared_hook_by_hook() {
        let plan = HookPlan::add(vec![hook("a"), hook("b")], Hook::new("sqs").with("sqs_queue_url", "https://q"));
        let new = Hook::new("sqs").with("sqs_queue_url", "https://q").with("id", "fresh").with("product", "all");
        let read = [new.clone(), hook("b").with("updated_at", "now"), hook("a")];
        assert!(plan.differences(&read).is_empty(), "the order, times, and what Stream adds do not count");

        let said = |read: &[Hook]| plan.differences(read).iter().map(Difference::to_string).collect::<Vec<_>>();
        assert_eq!(said(&[new.clone(), hook("a")]), ["webhook https://example.com/b (b) is missing"]);
        assert_eq!(said(&[hook("a"), hook("b")]), ["sqs https://q is missing"]);
        let disabled = hook("a").with("enabled", false);
        assert_eq!(said(&[disabled, hook("b"), new.clone()]), ["webhook https://example.com/a (a) differs in enabled"]);
        let other = new.clone().with("event_types", vec!["message.new"]);
        assert_eq!(said(&[hook("a"), hook("b"), other]), ["sqs https://q differs in event_types"]);
        let more = [hook("a"), hook("b"), new, hook("c")];
        assert_eq!(said(&more), ["webhook https://example.com/c (c) is new"]);
    }

    #[test]
    fn no_list_is_written_that_has_a_mask_for_a_secret() {
        let masked = Hook::new("sqs").with("sqs_auth_type", "keys").with("sqs_secret", "a***");
        let plan = HookPlan::add(vec![hook("a"), masked.clone()], hook("b"));
        assert!(matches!(plan.check(), Err(PlanError::Masked { field, .. }) if field == "sqs_secret"));
        assert!(HookPlan::remove(vec![hook("a"), masked], 1).unwrap().check().is_ok(), "what goes is not written");
    }

    #[test]
    fn a_hook_is_named_without_the_query_of_its_url() {
        let hook = Hook::new("webhook").with("webhook_url", "https://example.com/x?key=s3cret\u{1b}");
        assert_eq!(name(&hook), "webhook https://example.com/x");
    }
}
