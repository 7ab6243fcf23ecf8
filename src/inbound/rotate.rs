//! Owns watching the key files of backends: a new key is soon in use, and no other setting is read for that.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    Shared,
    operate::{PATIENCE, ask},
    reload::Reloading,
};
use crate::{
    settings::{Backend, Secret, Seen, Settings, keys_in},
    supervision::messages::Reload,
};

/// Pause between two looks, where the settings file is not looked at more often. Tokens that live for an hour are replaced minutes
/// before their end.
const PAUSE: Duration = Duration::from_secs(5);

/// Looks at them for as long as the process runs.
pub async fn when_rotated(shared: Shared) {
    let mut looks = Looks::default();
    loop {
        sleep(pause(shared.table().settings.server.watch_every)).await;
        shared.look_at_keys(&mut looks).await;
    }
}

fn pause(watch_every: Duration) -> Duration {
    if watch_every.is_zero() { PAUSE } else { watch_every.min(PAUSE) }
}

impl Shared {
    /// Installs the settings in force with the keys that stand in their files now.
    async fn look_at_keys(&self, looks: &mut Looks) {
        let in_force = self.table().settings.clone();
        let keys = self.next_keys(&in_force, looks).await;
        if keys.is_empty() {
            return;
        }
        let _turn = self.reloading.turn.lock().await;
        // What a reload has installed meanwhile it has read later; the next look compares with that.
        if !Arc::ptr_eq(&in_force, &self.table().settings) {
            return;
        }
        let mut settings = Box::new(Settings::clone(&in_force));
        for (name, key) in &keys {
            settings.backends.entry(name.clone()).and_modify(|backend| backend.api_key = Some(key.clone()));
        }
        // If that fails, the next look finds the keys as new.
        if ask(self.overseer.clone(), Reload { settings, dry_run: false }, PATIENCE).await.is_ok() {
            for (name, _) in keys {
                log::info!("backends.{name}.api_key_file: another key is in use");
            }
        }
    }

    /// Keys in files that differ from those in force, by backend.
    async fn next_keys(&self, in_force: &Settings, looks: &mut Looks) -> Vec<(String, Secret)> {
        let file = |(name, backend): (&String, &Backend)| Some((name.clone(), backend.api_key_file.clone()?));
        let (names, files): (Vec<_>, Vec<_>) = in_force.backends.iter().filter_map(file).unzip();
        if names.is_empty() {
            return Vec::new();
        }
        // None only where there can be no thread; the next look may have one.
        let Some(seen) = Reloading::aside(&self.reloading.key_place, move || keys_in(&files)).await else {
            return Vec::new();
        };
        let accepted = names.into_iter().zip(seen).map(|(name, seen)| {
            let seen = seen.and_then(|key| in_force.backends[&name].accept(key));
            (name, seen)
        });
        let (table, mut next) = (self.table(), Vec::new());
        for (name, seen) in looks.settled(accepted) {
            let Some(handle) = table.handles.get(&*name) else { continue };
            let fault = seen.as_ref().err().cloned();
            handle.vitals.key_fault.store(fault.map(Arc::new));
            match seen {
                Ok(key) if in_force.backends[&name].api_key.as_ref() != Some(&key) => next.push((name, key)),
                Ok(_) => {}
                Err(why) => log::warn!("backends.{name}.api_key_file: {why}; the key read before stays in use"),
            }
        }
        next
    }
}

/// What the looks have seen.
#[derive(Debug, Default)]
struct Looks {
    /// Of each backend's file, and how many looks in a row.
    seen: HashMap<String, (Seen, u64)>,
}

impl Looks {
    /// What to believe of what is seen now: what the look before saw, too, since a file that is being written in place may look
    /// whole. Of faults, only those that were not reported yet.
    fn settled(&mut self, seen: impl Iterator<Item = (String, Seen)>) -> Vec<(String, Seen)> {
        let mut before = std::mem::take(&mut self.seen);
        let mut settled = Vec::new();
        for (name, seen) in seen {
            let times = match before.remove(&name) {
                Some((last, times)) if last == seen => times + 1,
                _ => 1,
            };
            if times == 2 || (times > 2 && seen.is_ok()) {
                settled.push((name.clone(), seen.clone()));
            }
            self.seen.insert(name, (seen, times));
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_believed_at_its_second_look_and_a_fault_is_told_once() {
        let seen = |text: &str| match text {
            "-" => Err("empty".to_owned()),
            key => Ok(Secret::new(key.to_owned())),
        };
        let mut looks = Looks::default();
        let told: String = "aabccc---c-cdd"
            .chars()
            .map(|c| {
                let settled = looks.settled([("one".to_owned(), seen(&c.to_string()))].into_iter());
                match settled.into_iter().next() {
                    None => '.',
                    Some((_, seen)) => seen.map_or('-', |_| c),
                }
            })
            .collect();
        assert_eq!(told, ".a..cc.-.....d");
    }

    #[test]
    fn keys_are_looked_at_also_where_the_settings_file_is_not_or_seldom() {
        let pauses = [0, 1, 60].map(|secs| pause(Duration::from_secs(secs)));
        assert_eq!(pauses, [PAUSE, Duration::from_secs(1), PAUSE]);
    }
}
