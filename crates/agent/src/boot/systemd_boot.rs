//! systemd-boot: which slot is started follows from the names of its entries.
//!
//! | name in `loader/entries` | the slot |
//! |---|---|
//! | `muster-a.conf` | is the good one |
//! | `muster-try-b+3.conf` | is on trial with three starts left; systemd-boot makes it `+2-1`, `+1-2`, `+0-3` |
//! | `muster-b+0.conf` | is not started |
//!
//! `loader.conf` says `default muster-*` and is never changed. systemd-boot takes the first entry of that pattern in
//! its order: those without starts left come last, the others by name, backwards; so `muster-try-…` comes before
//! `muster-a` and `muster-b`. A pattern for one slot alone would start it even without starts left. The entries have no
//! `sort-key`, which would be ordered by first. `systemd-bless-boot` has to be masked: the agent confirms.
//!
//! **FAT promises nothing about a rename when power is cut**: the entry may have both names, or none. So no entry is
//! ever renamed here. It is written anew under its new name, made durable, and only then is the old name removed; the
//! steps of [`SystemdBoot::settle`] are ordered so that a good slot's entry without counter is there at any moment.
//! What systemd-boot itself renames is an entry on trial; if that gets lost, the good slot is started.

use std::cmp::Reverse;
use std::path::PathBuf;

use super::{Bootloader, Choice, Slot, running_slot};
use crate::disk;
use crate::install::InstallError;
use crate::world::World;

/// Entries and `loader.conf` have a handful of lines.
const FILE_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Clone)]
pub struct SystemdBoot {
    /// Where the partition with `loader/` is mounted: `/efi` or `/boot`.
    pub partition: PathBuf,
}

/// One of our entries, as its name has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    slot: Slot,
    is_ahead: bool,
    /// None: it is not counted, and good.
    left: Option<u32>,
}

impl Entry {
    /// `muster-[try-]SLOT[+LEFT[-DONE]].conf`; none if it is someone else's.
    fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("muster-")?.strip_suffix(".conf")?;
        let (rest, counter) = match rest.split_once('+') {
            Some((rest, counter)) => (rest, Some(counter)),
            None => (rest, None),
        };
        let left = match counter.map(|counter| counter.split_once('-').unwrap_or((counter, "0"))) {
            Some((left, done)) => {
                done.parse::<u32>().ok()?;
                Some(left.parse().ok()?)
            }
            None => None,
        };
        let (is_ahead, letter) = rest.strip_prefix("try-").map_or((false, rest), |letter| (true, letter));
        Some(Self { name: name.to_owned(), slot: Slot::from_letter(letter)?, is_ahead, left })
    }

    /// systemd-boot's order of ours: it starts the first.
    fn rank(&self) -> (bool, Reverse<(bool, bool)>, Reverse<Option<u32>>) {
        (self.left == Some(0), Reverse((self.is_ahead, self.slot == Slot::B)), Reverse(self.left))
    }
}

impl SystemdBoot {
    fn path(&self, name: &str) -> PathBuf {
        self.partition.join("loader/entries").join(name)
    }

    fn refused(&self, why: &str) -> InstallError {
        InstallError::Refused(format!("systemd-boot in {}: {why}", self.partition.display()))
    }

    /// In systemd-boot's order.
    fn entries(&self, world: &dyn World) -> Result<Vec<Entry>, InstallError> {
        let folder = self.path("");
        let names = world
            .disk()
            .list(&folder)
            .map_err(InstallError::disk(format!("reading the names in {}", folder.display())))?;
        let mut entries: Vec<Entry> = names.iter().filter_map(|name| Entry::parse(name)).collect();
        entries.sort_by_key(Entry::rank);
        Ok(entries)
    }

    fn read(&self, world: &dyn World, path: &std::path::Path) -> Result<String, InstallError> {
        let bytes = disk::read(world.disk(), path, FILE_BYTES_MAX)
            .map_err(InstallError::disk(format!("reading {}", path.display())))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// With any other default the names would decide nothing.
    fn check_default(&self, world: &dyn World) -> Result<(), InstallError> {
        let text = self.read(world, &self.partition.join("loader/loader.conf"))?;
        let mut words = text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        if words.any(|words| words == ["default", "muster-*"]) {
            return Ok(());
        }
        Err(self.refused("loader/loader.conf has no line `default muster-*`"))
    }

    /// An entry's content, from whichever of its names has it whole.
    fn content(&self, world: &dyn World, slot: Slot) -> Result<String, InstallError> {
        for entry in self.entries(world)?.iter().filter(|entry| entry.slot == slot) {
            let text = self.read(world, &self.path(&entry.name))?;
            let key = |line: &str| line.split_ascii_whitespace().next().unwrap_or_default().to_owned();
            if text.lines().map(key).any(|key| ["linux", "efi", "uki"].contains(&key.as_str())) {
                return Ok(text);
            }
        }
        Err(self.refused(&format!("no entry muster-{}.conf names a kernel", slot.letter())))
    }

    /// Makes sure that there is an entry of this name, and that it lasts.
    fn put(&self, world: &dyn World, slot: Slot, name: &str) -> Result<(), InstallError> {
        let path = self.path(name);
        let content = self.content(world, slot)?;
        let what = || InstallError::disk(format!("writing {}", path.display()));
        if world.disk().kind(&path).map_err(what())?.is_some() && self.read(world, &path)? == content {
            world.disk().sync(&path).map_err(what())?;
            return world.disk().sync_folder(&self.path("")).map_err(what());
        }
        disk::replace(world.disk(), &path, content.as_bytes()).map_err(what())
    }

    fn remove_others(&self, world: &dyn World, slot: Slot, but: &str) -> Result<(), InstallError> {
        for entry in self.entries(world)?.iter().filter(|entry| entry.slot == slot && entry.name != but) {
            let path = self.path(&entry.name);
            world.disk().remove(&path).map_err(InstallError::disk(format!("removing {}", path.display())))?;
        }
        let folder = self.path("");
        world.disk().sync_folder(&folder).map_err(InstallError::disk(format!("syncing {}", folder.display())))
    }

    /// Makes the names what they shall be, from whatever they are.
    fn settle(&self, world: &dyn World, good: Slot, trial: Option<u32>) -> Result<(), InstallError> {
        let (slot, other) = (good.letter(), good.other());
        self.check_default(world)?;
        let other_name = match trial {
            Some(starts) => format!("muster-try-{}+{starts}.conf", other.letter()),
            None => format!("muster-{}+0.conf", other.letter()),
        };
        // 1. The slot is good, ahead of whatever the other one is called until now.
        if !self.entries(world)?.iter().any(|entry| entry.slot == good && entry.left.is_none()) {
            self.put(world, good, &format!("muster-try-{slot}.conf"))?;
        }
        // 2. The other one gets its name and loses those it had.
        self.put(world, other, &other_name)?;
        self.remove_others(world, other, &other_name)?;
        // 3. The good one goes back into its row, so that the other one can be ahead of it.
        let name = format!("muster-{slot}.conf");
        self.put(world, good, &name)?;
        self.remove_others(world, good, &name)
    }

    fn good(&self, entries: &[Entry]) -> Result<Slot, InstallError> {
        let good = entries.iter().find(|entry| entry.left.is_none()).map(|entry| entry.slot);
        good.ok_or_else(|| self.refused("there is neither loader/entries/muster-a.conf nor muster-b.conf"))
    }
}

impl Bootloader for SystemdBoot {
    fn name(&self) -> &'static str {
        "systemd-boot"
    }

    fn running(&self, world: &dyn World) -> Result<Slot, InstallError> {
        running_slot(world)
    }

    /// A slot whose last start this is counts as tried still.
    fn choice(&self, world: &dyn World) -> Result<Choice, InstallError> {
        self.check_default(world)?;
        let entries = self.entries(world)?;
        let good = self.good(&entries)?;
        let running = self.running(world)?;
        // That both can be written anew is known before an update begins.
        self.content(world, good)?;
        self.content(world, good.other())?;
        let is_tried = |entry: &Entry| match entry.left {
            Some(0) => entry.is_ahead && entry.slot == running,
            Some(_) => entry.is_ahead,
            None => false,
        };
        let trial = entries.iter().find(|entry| entry.slot != good && is_tried(entry)).map(|entry| entry.slot);
        Ok(Choice { good, trial })
    }

    fn try_slot(&self, world: &dyn World, slot: Slot, starts: u32) -> Result<(), InstallError> {
        let good = self.good(&self.entries(world)?)?;
        if good == slot {
            // Trying the good slot is starting it.
            return self.settle(world, good, None);
        }
        self.settle(world, good, Some(starts))
    }

    fn confirm(&self, world: &dyn World, slot: Slot) -> Result<(), InstallError> {
        self.settle(world, slot, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workbench::Workbench;

    fn bench(names: &[&str]) -> (Workbench, SystemdBoot) {
        let bench = Workbench::new();
        bench.started_from("a");
        bench.write("efi/loader/loader.conf", "timeout 0\ndefault  muster-*\n");
        bench.write("efi/loader/entries/windows.conf", "title other\n");
        for name in names {
            let slot = Entry::parse(name).unwrap().slot.letter();
            bench.write(&format!("efi/loader/entries/{name}"), entry(slot));
        }
        let boot = SystemdBoot { partition: bench.path("efi") };
        (bench, boot)
    }

    fn entry(slot: &str) -> String {
        format!("title Slot {slot}\nlinux /linux-{slot}\noptions muster.slot={slot}\n")
    }

    fn names(bench: &Workbench) -> Vec<String> {
        bench.names("efi/loader/entries").into_iter().filter(|name| name.ends_with(".conf")).collect()
    }

    /// What systemd-boot does: the first entry of the pattern that names a kernel, and its counter.
    fn start(bench: &Workbench) -> String {
        let names = names(bench);
        let mut entries: Vec<Entry> = names.iter().filter_map(|name| Entry::parse(name)).collect();
        entries.sort_by_key(Entry::rank);
        let path = |name: &str| format!("efi/loader/entries/{name}");
        let first = entries.iter().find(|entry| bench.text(&path(&entry.name)).contains("linux")).unwrap();
        let letter = first.slot.letter();
        if let Some(left @ 1..) = first.left {
            let done = first.name.split_once("-1.").map_or(1, |_| 2);
            let new = format!("muster-try-{letter}+{}-{done}.conf", left - 1);
            std::fs::rename(bench.path(&path(&first.name)), bench.path(&path(&new))).unwrap();
        }
        letter.to_owned()
    }

    #[test]
    fn each_slot_gets_its_starts_and_then_the_good_one_is_back() {
        for (good, tried) in [(Slot::A, Slot::B), (Slot::B, Slot::A)] {
            let (g, t) = (good.letter(), tried.letter());
            let (bench, boot) = bench(&[&format!("muster-{g}.conf"), &format!("muster-{t}+0.conf")]);
            bench.started_from(g);
            assert_eq!(start(&bench), g);
            boot.try_slot(&bench, tried, 2).unwrap();
            assert_eq!(boot.choice(&bench).unwrap(), Choice { good, trial: Some(tried) });
            assert_eq!([(); 4].map(|()| start(&bench)), [t, t, g, g]);
            assert_eq!(boot.choice(&bench).unwrap(), Choice { good, trial: None });
            bench.started_from(t);
            assert_eq!(boot.choice(&bench).unwrap().trial, Some(tried), "its last start is under way");
            boot.confirm(&bench, tried).unwrap();
            assert_eq!(boot.choice(&bench).unwrap(), Choice { good: tried, trial: None });
            assert_eq!(start(&bench), t);
            let mut expected = [format!("muster-{g}+0.conf"), format!("muster-{t}.conf"), "windows.conf".into()];
            expected.sort();
            assert_eq!(names(&bench), expected);
            assert_eq!(bench.text(&format!("efi/loader/entries/muster-{t}.conf")), entry(t));
        }
    }

    /// After a cut, FAT may also have lost names that were written, or kept those that were removed.
    #[test]
    fn a_power_cut_at_any_moment_leaves_a_good_entry_and_is_made_up_for() {
        for (from, act) in [("a", "try"), ("b", "try"), ("a", "confirm"), ("b", "confirm"), ("a", "revert")] {
            let good = Slot::from_letter(from).unwrap();
            let other = good.other();
            let other_name = match act {
                "try" => format!("muster-{}+0.conf", other.letter()),
                _ => format!("muster-try-{}+1-2.conf", other.letter()),
            };
            let (bench, boot) = bench(&[&format!("muster-{from}.conf"), &other_name]);
            let before = bench.names("efi/loader/entries");
            let perform = || match act {
                "try" => boot.try_slot(&bench, other, 3),
                "confirm" => boot.confirm(&bench, other),
                _ => boot.confirm(&bench, good),
            };
            let cuts = bench.cut_everywhere(perform, |_| {
                let choice = boot.choice(&bench).unwrap();
                assert!(choice.good == good || act == "confirm", "{act} from {from}: {:?}", names(&bench));
                for left in bench.names_after_cut("efi/loader/entries", &before) {
                    let mut entries: Vec<Entry> = left.iter().filter_map(|name| Entry::parse(name)).collect();
                    entries.sort_by_key(Entry::rank);
                    let good_now = boot.good(&entries).unwrap();
                    assert!(good_now == good || act == "confirm", "{act} from {from}: {left:?}");
                }
            });
            assert!(cuts >= 5, "{cuts}");
            let end = boot.choice(&bench).unwrap();
            let expected = match act {
                "try" => Choice { good, trial: Some(other) },
                "confirm" => Choice { good: other, trial: None },
                _ => Choice { good, trial: None },
            };
            assert_eq!(end, expected, "{act} from {from}");
            assert_eq!(names(&bench).len(), 3, "{:?}", names(&bench));
        }
    }

    #[test]
    fn an_entry_that_arrived_empty_is_not_taken_for_one() {
        let (bench, boot) = bench(&["muster-a.conf", "muster-b+0.conf"]);
        bench.write("efi/loader/entries/muster-try-b+3.conf", "");
        boot.try_slot(&bench, Slot::B, 3).unwrap();
        assert_eq!(bench.text("efi/loader/entries/muster-try-b+3.conf"), entry("b"));
        assert_eq!(start(&bench), "b");
    }

    #[test]
    fn a_partition_that_is_not_set_up_is_refused_and_left_alone() {
        let cases = [
            (vec!["muster-b+0.conf"], "default muster-*", "there is neither"),
            (vec!["muster-a.conf"], "default muster-*", "no entry muster-b.conf names a kernel"),
            (vec!["muster-a.conf", "muster-b+0.conf"], "default muster-a*", "no line `default muster-*`"),
        ];
        for (entries, default, why) in cases {
            let (bench, boot) = bench(&entries);
            bench.write("efi/loader/loader.conf", default);
            let before = names(&bench);
            let errors = [boot.choice(&bench).map(drop), boot.try_slot(&bench, Slot::B, 3)];
            for error in errors {
                let error = error.unwrap_err().to_string();
                assert!(error.contains(why) || error.contains("names a kernel"), "{error}");
            }
            assert_eq!(names(&bench), before);
        }
    }

    #[test]
    fn names_of_others_are_not_ours() {
        let none =
            ["muster-c.conf", "muster-a+x.conf", "muster-a+1-x.conf", "muster-a.efi", "a.conf", "muster-a.conf.new"];
        assert_eq!(none.map(Entry::parse), [const { None }; 6]);
        let entry = Entry::parse("muster-try-b+3-0.conf").unwrap();
        assert_eq!((entry.slot, entry.is_ahead, entry.left), (Slot::B, true, Some(3)));
    }
}
