//! U-Boot: which slot is started is written in its environment, of which there are two copies.
//!
//! `muster_slot=a` is the good slot and never changed by U-Boot. On trial, `muster_try=b`, `upgrade_available=1`,
//! `bootcount=0` and `bootlimit=3`: U-Boot counts `bootcount` up at each start, runs `bootcmd`, which starts
//! `muster_try`, and beyond the limit `altbootcmd`, which starts `muster_slot`.
//!
//! Each copy is a CRC-32 over its data, a counter, and `name=value` with a zero byte after each and one at the end. Of
//! two sound copies the one that counts on from the other is newer. **The older copy is written, never the newer one**:
//! a power cut leaves a copy whose sum is wrong, and U-Boot and everybody else take the one before.

use std::path::PathBuf;

use super::{Bootloader, Choice, Slot, running_slot};
use crate::install::InstallError;
use crate::world::World;

/// CRC and counter.
const HEAD_BYTES: usize = 5;
/// Boards have 8 to 256 KiB.
const COPY_BYTES_MAX: usize = 1024 * 1024;

/// Where a copy is: a line of `fw_env.config`.
#[derive(Debug, Clone)]
pub struct Copy {
    /// A file or a block device. Raw flash (`/dev/mtd0`) has to be erased first and is not for us.
    pub path: PathBuf,
    pub offset: u64,
}

#[derive(Debug, Clone)]
pub struct Uboot {
    /// In the order in which U-Boot has them; it matters when both count the same.
    pub copies: [Copy; 2],
    /// Of each.
    pub bytes: usize,
}

/// Variables in the order in which they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Variables(Vec<(String, Vec<u8>)>);

impl Variables {
    fn parse(data: &[u8]) -> Self {
        let words = data.split(|&byte| byte == 0).take_while(|word| !word.is_empty());
        let pairs = words.map(|word| {
            let at = word.iter().position(|&byte| byte == b'=').unwrap_or(word.len());
            (String::from_utf8_lossy(&word[..at]).into_owned(), word.get(at + 1..).unwrap_or_default().to_vec())
        });
        Self(pairs.collect())
    }

    fn get(&self, name: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    fn number(&self, name: &str) -> u32 {
        self.get(name).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Empty is the same as gone, as for U-Boot's `setenv`.
    fn set(&mut self, name: &str, value: &str) {
        let place = self.0.iter().position(|(key, _)| key == name);
        match (place, value) {
            (Some(place), "") => drop(self.0.remove(place)),
            (None, "") => {}
            (Some(place), value) => self.0[place].1 = value.into(),
            (None, value) => self.0.push((name.to_owned(), value.into())),
        }
    }

    fn data(&self) -> Vec<u8> {
        let mut data = Vec::new();
        for (name, value) in &self.0 {
            data.extend([name.as_bytes(), b"=", value, &[0]].concat());
        }
        data.push(0);
        data
    }
}

/// What both copies say.
struct Environment {
    variables: Variables,
    newer: usize,
    counter: u8,
}

impl Uboot {
    fn read_copy(&self, world: &dyn World, index: usize) -> Result<Option<(u8, Vec<u8>)>, InstallError> {
        let Copy { path, offset } = &self.copies[index];
        let what = format!("reading U-Boot's environment in {}", path.display());
        let mut bytes = vec![0; self.bytes];
        let mut filled = 0;
        while filled < bytes.len() {
            let at = offset + filled as u64;
            match world.disk().read_at(path, at, &mut bytes[filled..]).map_err(InstallError::disk(what.clone()))? {
                0 => break,
                count => filled += count,
            }
        }
        let (head, data) = bytes.split_at(HEAD_BYTES);
        let is_sound = filled == bytes.len() && head[..4] == crc32(data).to_le_bytes();
        Ok(is_sound.then(|| (head[4], data.to_vec())))
    }

    fn read(&self, world: &dyn World) -> Result<Environment, InstallError> {
        if !(HEAD_BYTES + 2..=COPY_BYTES_MAX).contains(&self.bytes) {
            return Err(self.refused(&format!("{} bytes are no size for a copy", self.bytes)));
        }
        let [first, second] = &self.copies;
        if first.path == second.path && first.offset.abs_diff(second.offset) < self.bytes as u64 {
            return Err(self.refused("the copies lie over each other"));
        }
        let copies = [self.read_copy(world, 0)?, self.read_copy(world, 1)?];
        let newer = match &copies {
            [Some((first, _)), Some((second, _))] => usize::from(is_second_newer(*first, *second)),
            [Some(_), None] => 0,
            [None, Some(_)] => 1,
            [None, None] => return Err(self.refused("neither copy is sound: save it once from U-Boot")),
        };
        let [first, second] = copies;
        let (counter, data) = if newer == 0 { first } else { second }.expect("the newer one is a sound one");
        Ok(Environment { variables: Variables::parse(&data), newer, counter })
    }

    fn refused(&self, why: &str) -> InstallError {
        let [first, second] = &self.copies;
        let places = format!("{} and {}", first.path.display(), second.path.display());
        InstallError::Refused(format!("U-Boot's environment in {places}: {why}"))
    }

    /// Changes variables; none of the others is touched. Synced even if nothing changes: whoever wrote it may not have
    /// come so far.
    fn change(&self, world: &dyn World, changes: &[(&str, &str)]) -> Result<(), InstallError> {
        let environment = self.read(world)?;
        let mut variables = environment.variables.clone();
        for (name, value) in changes {
            variables.set(name, value);
        }
        let what = |copy: &Copy| InstallError::disk(format!("writing U-Boot's environment in {}", copy.path.display()));
        if variables == environment.variables {
            let copy = &self.copies[environment.newer];
            return world.disk().sync(&copy.path).map_err(what(copy));
        }
        let mut data = variables.data();
        if data.len() > self.bytes - HEAD_BYTES {
            return Err(self.refused("it is full"));
        }
        data.resize(self.bytes - HEAD_BYTES, 0);
        let head = [&crc32(&data).to_le_bytes()[..], &[environment.counter.wrapping_add(1)]].concat();
        let copy = &self.copies[1 - environment.newer];
        // The newer copy is durable before the older one is given up: it may have been written a moment ago.
        let newer = &self.copies[environment.newer];
        world.disk().sync(&newer.path).map_err(what(newer))?;
        world.disk().write_at(&copy.path, copy.offset, &[head, data].concat()).map_err(what(copy))?;
        world.disk().sync(&copy.path).map_err(what(copy))
    }
}

/// As U-Boot decides it: 0 comes after 255, and of equals the first counts.
fn is_second_newer(first: u8, second: u8) -> bool {
    match (first, second) {
        (255, 0) => true,
        (0, 255) => false,
        (first, second) => second > first,
    }
}

/// That of Ethernet and zlib.
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    let mut sum = !0_u32;
    for &byte in bytes {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (POLYNOMIAL & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

impl Bootloader for Uboot {
    fn name(&self) -> &'static str {
        "uboot"
    }

    fn running(&self, world: &dyn World) -> Result<Slot, InstallError> {
        running_slot(world)
    }

    /// A slot whose last start this is counts as tried still.
    fn choice(&self, world: &dyn World) -> Result<Choice, InstallError> {
        let Environment { variables, .. } = self.read(world)?;
        let good = variables.get("muster_slot").unwrap_or_default();
        let good = Slot::from_letter(&good)
            .ok_or_else(|| self.refused(&format!("muster_slot is {good:?}, not a or b: save it once from U-Boot")))?;
        let running = self.running(world)?;
        let has_starts = variables.number("bootcount") < variables.number("bootlimit");
        let trial = variables
            .get("muster_try")
            .filter(|_| variables.number("upgrade_available") == 1)
            .and_then(|letter| Slot::from_letter(&letter))
            .filter(|&slot| has_starts || slot == running);
        Ok(Choice { good, trial })
    }

    fn try_slot(&self, world: &dyn World, slot: Slot, starts: u32) -> Result<(), InstallError> {
        // U-Boot takes a limit of 0 for none at all.
        let limit = starts.max(1).to_string();
        let trial = ("muster_try", slot.letter());
        self.change(world, &[trial, ("upgrade_available", "1"), ("bootcount", "0"), ("bootlimit", &limit)])
    }

    fn confirm(&self, world: &dyn World, slot: Slot) -> Result<(), InstallError> {
        let good = ("muster_slot", slot.letter());
        self.change(world, &[good, ("muster_try", ""), ("upgrade_available", "0"), ("bootcount", "0")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workbench::Workbench;

    const BYTES: usize = 2048;

    fn copy(counter: u8, variables: &[(&str, &str)]) -> Vec<u8> {
        let mut all = Variables(Vec::new());
        for (name, value) in variables {
            all.set(name, value);
        }
        let mut data = all.data();
        data.resize(BYTES - HEAD_BYTES, 0);
        [&crc32(&data).to_le_bytes()[..], &[counter], &data].concat()
    }

    /// Both copies in one file, with something else around them.
    fn bench(copies: [Vec<u8>; 2]) -> (Workbench, Uboot) {
        let bench = Workbench::new();
        bench.started_from("a");
        let [first, second] = copies;
        bench.write("env", [&[7; 64][..], &first, &[8; 64], &second, &[9; 64]].concat());
        let path = bench.path("env");
        let copies = [Copy { path: path.clone(), offset: 64 }, Copy { path, offset: 128 + BYTES as u64 }];
        (bench, Uboot { copies, bytes: BYTES })
    }

    fn good(slot: &str, counter: u8) -> Vec<u8> {
        copy(counter, &[("bootcmd", "run x=y"), ("muster_slot", slot)])
    }

    /// What U-Boot does at a start: which slot, and what it saves.
    fn start(bench: &Workbench, uboot: &Uboot) -> String {
        let variables = uboot.read(bench).unwrap().variables;
        if variables.number("upgrade_available") != 1 {
            return variables.get("muster_slot").unwrap();
        }
        let count = variables.number("bootcount") + 1;
        uboot.change(bench, &[("bootcount", &count.to_string())]).unwrap();
        let chosen = if count > variables.number("bootlimit") { "muster_slot" } else { "muster_try" };
        variables.get(chosen).unwrap()
    }

    #[test]
    fn a_trial_gets_its_starts_and_then_the_good_slot_is_back() {
        let (bench, uboot) = bench([good("a", 1), good("b", 0)]);
        uboot.try_slot(&bench, Slot::B, 2).unwrap();
        assert_eq!(uboot.choice(&bench).unwrap(), Choice { good: Slot::A, trial: Some(Slot::B) });
        assert_eq!([(); 4].map(|()| start(&bench, &uboot)), ["b", "b", "a", "a"]);
        assert_eq!(uboot.choice(&bench).unwrap(), Choice { good: Slot::A, trial: None });
        bench.started_from("b");
        assert_eq!(uboot.choice(&bench).unwrap().trial, Some(Slot::B), "its last start is under way");
        uboot.confirm(&bench, Slot::B).unwrap();
        assert_eq!(uboot.choice(&bench).unwrap(), Choice { good: Slot::B, trial: None });
        assert_eq!(start(&bench, &uboot), "b");
        assert_eq!(uboot.read(&bench).unwrap().variables.get("bootcmd").unwrap(), "run x=y");
    }

    #[test]
    fn the_newer_copy_counts_on_from_the_older_also_past_255() {
        let newer = |first, second| {
            let (bench, uboot) = bench([good("a", first), good("b", second)]);
            uboot.choice(&bench).unwrap().good
        };
        assert_eq!([newer(4, 3), newer(255, 254), newer(0, 255), newer(7, 7)], [Slot::A; 4]);
        assert_eq!([newer(3, 4), newer(254, 255), newer(255, 0)], [Slot::B; 3]);
    }

    #[test]
    fn three_hundred_changes_are_each_the_newest() {
        let (bench, uboot) = bench([good("a", 0), good("a", 0)]);
        for turn in 0..300 {
            let slot = if turn % 2 == 0 { Slot::B } else { Slot::A };
            uboot.confirm(&bench, slot).unwrap();
            assert_eq!(uboot.choice(&bench).unwrap().good, slot, "{turn}");
        }
        let file = bench.read("env");
        assert_eq!((&file[..64], &file[64 + BYTES..128 + BYTES]), (&[7; 64][..], &[8; 64][..]));
        assert_eq!(&file[128 + 2 * BYTES..], &[9; 64][..]);
    }

    #[test]
    fn however_much_of_a_write_arrives_the_old_or_the_new_environment_is_there_whole() {
        let (bench, uboot) = bench([good("a", 255), good("b", 254)]);
        let old = bench.read("env");
        let was = uboot.read(&bench).unwrap().variables;
        uboot.try_slot(&bench, Slot::B, 3).unwrap();
        let new = bench.read("env");
        let is = uboot.read(&bench).unwrap().variables;
        let mut torn: Vec<Vec<u8>> = (0..=old.len()).map(|at| [&new[..at], &old[at..]].concat()).collect();
        torn.extend((0..=old.len()).map(|at| [&old[..at], &new[at..]].concat()));
        // Sectors in any order.
        for chosen in 0..1_u32 << old.len().div_ceil(512) {
            let sectors = old.chunks(512).zip(new.chunks(512)).enumerate();
            let mixed = sectors.flat_map(|(at, (old, new))| if chosen >> at & 1 == 1 { new } else { old });
            torn.push(mixed.copied().collect());
        }
        let mut seen = [false; 2];
        for content in torn {
            bench.write("env", content);
            let read = uboot.read(&bench).unwrap().variables;
            seen[usize::from(read == is)] = true;
            assert!(read == was || read == is);
        }
        assert_eq!(seen, [true; 2]);
    }

    #[test]
    fn a_power_cut_at_any_moment_leaves_the_old_or_the_new_choice() {
        let (bench, uboot) = bench([good("a", 1), copy(0, &[])]);
        let cuts = bench.cut_everywhere(|| uboot.confirm(&bench, Slot::B), |_| assert!(uboot.choice(&bench).is_ok()));
        assert_eq!((cuts, uboot.choice(&bench).unwrap().good), (3, Slot::B));
    }

    #[test]
    fn nothing_is_written_when_nothing_changes() {
        let (bench, uboot) = bench([good("a", 1), good("a", 0)]);
        uboot.confirm(&bench, Slot::B).unwrap();
        let before = bench.read("env");
        uboot.confirm(&bench, Slot::B).unwrap();
        assert_eq!(bench.read("env"), before);
    }

    #[test]
    fn what_is_no_sound_environment_is_refused_and_left_alone() {
        let broken = vec![255; BYTES];
        let full = copy(1, &[("muster_slot", "a"), ("big", &"x".repeat(BYTES - 40))]);
        let cases = [(broken.clone(), "neither copy is sound"), (full, "it is full")];
        for (first, why) in cases {
            let (bench, uboot) = bench([first, broken.clone()]);
            let before = bench.read("env");
            let error = uboot.try_slot(&bench, Slot::B, 3).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert_eq!(bench.read("env"), before);
        }
        let (bench, uboot) = bench([copy(0, &[("muster_slot", "c")]), broken]);
        assert!(uboot.choice(&bench).unwrap_err().to_string().contains("muster_slot is \"c\""));
        let small = Uboot { bytes: 4, ..uboot };
        assert!(small.choice(&bench).unwrap_err().to_string().contains("4 bytes are no size"));
        let copies = [small.copies[0].clone(), Copy { offset: 65, ..small.copies[0].clone() }];
        let overlapping = Uboot { copies, bytes: BYTES };
        assert!(overlapping.confirm(&bench, Slot::B).unwrap_err().to_string().contains("lie over each other"));
    }

    #[test]
    fn the_sum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
